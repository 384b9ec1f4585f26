// src/helper/warm.pl with what it has to know of the rest of the source put in.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { FrameType } from '../src/control/frame.ts';
import { protocolVersion } from '../src/control/message.ts';
import { maxSocketPath } from '../src/private-folder.ts';
import { version } from '../src/version.ts';

const source = resolve(import.meta.dirname, '../src/helper/warm.pl');

export function warmHelper(): string {
  const values: Record<string, unknown> = { ...FrameType, version, protocol: protocolVersion, maxSocketPath };
  return readFileSync(source, 'utf8').replace(/@(\w+)@/g, (_, name: string) => {
    if (values[name] === undefined) throw new Error(`warm.pl wants ${name}, which nobody knows`);
    return String(values[name]);
  });
}
