// The recorded messages, by what was going on (capture.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Transcript } from './capture.ts';

const transcript: Transcript = JSON.parse(readFileSync(join(import.meta.dirname, 'transcript.json'), 'utf8'));

export interface RecordedExchange {
  what: string;
  request: Buffer;
  answer: Buffer;
}

export const exchanges: RecordedExchange[] = transcript.connections.flatMap((connection) =>
  connection.exchanges.map(({ request, answer }) => ({
    what: connection.what,
    request: Buffer.from(request, 'hex'),
    answer: Buffer.from(answer, 'hex'),
  })),
);

/** Requests with this number, in the order in which they were recorded. */
export function recorded(number: number, what = ''): RecordedExchange[] {
  return exchanges.filter((exchange) => exchange.request[0] === number && exchange.what.startsWith(what));
}
