import { spawnSync } from 'node:child_process';
import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type LedgerEntry, SessionLedger } from '../../src/daemon/session-ledger.ts';

const entry = (sessionId: string): LedgerEntry => ({ sessionId, target: 'i-1', region: 'eu-west-1', context: 'c' });
const files = (folder: string) => readdirSync(folder).filter((name) => name.startsWith('sessions.'));
const ids = (ledger: SessionLedger) => ledger.entries().map(({ sessionId }) => sessionId);
/** Of a process that is gone. */
const deadPid = spawnSync('true').pid;

/** What a daemon that was killed left. */
function leave(folder: string, text: string, name = `sessions.${deadPid}.1.jsonl`): void {
  writeFileSync(join(folder, name), text);
}

const line = (value: unknown) => `${JSON.stringify(value)}\n`;

function folderOf(t: Test): string {
  return t.testdir({});
}

t.test('what a killed daemon left is taken over, and is in one place only', async (t) => {
  const folder = folderOf(t);
  leave(folder, line({ start: entry('a') }) + line({ start: entry('b') }) + line({ end: 'a' }));
  const ledger = new SessionLedger(folder);
  t.strictSame(ledger.entries(), [entry('b')]);
  t.strictSame(files(folder).length, 1);
  t.notMatch(files(folder)[0], `.${deadPid}.`);
});

t.test('what a living daemon has is its own: at a hand-over there are two', async (t) => {
  const folder = folderOf(t);
  const old = new SessionLedger(folder, process.ppid);
  old.start(entry('a'));
  const next = new SessionLedger(folder);
  t.strictSame(next.entries(), []);
  next.start(entry('b'));
  old.end('a');
  old.close();
  t.strictSame(files(folder).length, 1);
  next.end('b');
  next.close();
  t.strictSame(files(folder), []);
});

t.test('a process that only has the number of a former one is another', async (t) => {
  const folder = folderOf(t);
  leave(folder, line({ start: entry('a') }), `sessions.${process.ppid}.1.jsonl`);
  t.strictSame(ids(new SessionLedger(folder)), ['a']);
});

t.test('a line torn by the kill, and lines that are nothing, are passed over', async (t) => {
  const folder = folderOf(t);
  leave(
    folder,
    `${line({ start: entry('a') })}null\n{}\n7\n{"start":{}}\n\n${line({ start: entry('b') }).slice(0, 20)}`,
  );
  t.strictSame(ids(new SessionLedger(folder)), ['a']);
});

t.test('what one daemon took over, and did not end, the next one gets', async (t) => {
  const folder = folderOf(t);
  leave(folder, line({ start: entry('a') }));
  const second = new SessionLedger(folder);
  second.start(entry('b'));
  const [file] = files(folder);
  leave(folder, readFileSync(join(folder, file!), 'utf8'), `sessions.${deadPid}.2.jsonl`);
  t.strictSame(ids(new SessionLedger(folder, process.ppid)).sort(), ['a', 'b']);
});

t.test('the file is for the user alone and does not grow with the days', async (t) => {
  const folder = folderOf(t);
  const ledger = new SessionLedger(folder);
  ledger.start(entry('stays'));
  for (let n = 0; n < 5_000; n++) {
    ledger.start(entry(String(n)));
    ledger.end(String(n));
  }
  const file = join(folder, files(folder)[0]!);
  t.ok(statSync(file).size < 200_000, `${statSync(file).size} bytes`);
  t.equal(statSync(file).mode & 0o777, 0o600);
  leave(folder, readFileSync(file, 'utf8'));
  t.strictSame(ids(new SessionLedger(folder, process.ppid)), ['stays']);
});

t.test('where nothing can be written, nothing fails', async (t) => {
  const folder = t.testdir({ file: '' });
  for (const place of [undefined, join(folder, 'file', 'below'), '/proc/nowhere']) {
    const ledger = new SessionLedger(place);
    ledger.start(entry('a'));
    t.strictSame(ids(ledger), ['a']);
    ledger.end('a');
    ledger.close();
  }
});

t.test('an entry behind one that was written in part is read', async (t) => {
  const folder = folderOf(t);
  const ledger = new SessionLedger(folder);
  ledger.start(entry('a'));
  const file = join(folder, files(folder)[0]!);
  // As after a full disk: half a line, then an own entry that is told to begin anew.
  appendFileSync(file, '{"start":{"ses\n');
  ledger.start(entry('b'));
  leave(folder, readFileSync(file, 'utf8'));
  t.strictSame(ids(new SessionLedger(folder, process.ppid)), ['a', 'b']);
});
