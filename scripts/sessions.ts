// Lists the sessions of the region that AWS_* name, as AWS tells them (DescribeSessions): those that have ended, then
// those still active. Exit status 1 if one is still active after the time in which keyhole promises to be gone.
import { setTimeout as delay } from 'node:timers/promises';
import { DescribeSessionsCommand, type Session, type SessionState, SSMClient } from '@aws-sdk/client-ssm';

const goneWithinMs = 3_000;
/** DescribeSessions may be called six times per second. */
const pollMs = 500;

const client = new SSMClient({});

async function describe(state: SessionState): Promise<Session[]> {
  const sessions: Session[] = [];
  let token: string | undefined;
  do {
    const page = await client.send(new DescribeSessionsCommand({ State: state, ...(token && { NextToken: token }) }));
    sessions.push(...(page.Sessions ?? []));
    token = page.NextToken;
  } while (token !== undefined);
  return sessions;
}

const giveUpAt = performance.now() + goneWithinMs;
let active = await describe('Active');
while (active.length > 0 && performance.now() < giveUpAt) {
  await delay(pollMs);
  active = await describe('Active');
}
const ended = await describe('History');
for (const { SessionId, Target, DocumentName, Status } of [...ended, ...active]) {
  process.stdout.write(`${Status?.padEnd(12)} ${Target}  ${DocumentName}  ${SessionId}\n`);
}
process.stdout.write(`${ended.length} ended, ${active.length} active\n`);
process.exitCode = active.length === 0 ? 0 : 1;
