// What the push script does to a home, run for real under each shell that nodes have. Of busybox it has the tools as well.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EphemeralKey } from '../../src/agent/keyring.ts';
import { pushPatterns, pushScript, pushScriptFor, pushValues } from '../../src/keypush/push-script.ts';
import { makeNodeFiles, type NodeFiles } from '../region/node/files.ts';

const isRoot = process.getuid?.() === 0;
const shells: Record<string, string> = { dash: 'dash', bash: 'bash', busybox: 'busybox sh' };
const installed = Object.keys(shells).filter((name) => spawnSync(name, ['--help']).error === undefined);
// Debian's is built without flock; Alpine's is not.
const busyboxTools = ['cat', 'chmod', 'cp', 'date', 'grep', 'id', 'mkdir', 'mv', 'rm', 'sed'];
const ours = /^expiry-time="[0-9]{14}Z?" ssh-ed25519 [A-Za-z0-9+/]{68} keyhole:([0-9]{10})$/;

class Node {
  readonly files: NodeFiles;
  readonly #shell: string;

  constructor(t: Test, shell: string, users: Parameters<typeof makeNodeFiles>[0]['users'] = { alice: {} }) {
    const folder = mkdtempSync(join(tmpdir(), 'keyhole-push-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o755);
    this.files = makeNodeFiles({ folder, users });
    this.#shell = join(folder, 'bin/sh');
    this.files.install('sh', `exec ${shells[shell]} "$@"`);
    for (const tool of shell === 'busybox' ? busyboxTools : []) this.files.install(tool, `exec busybox ${tool} "$@"`);
    this.sshd('9.2');
  }

  sshd(version: string): void {
    this.files.install('sshd', `echo 'OpenSSH_${version}p1 Debian, OpenSSL 3' >&2; exit 1`);
  }

  path(...names: string[]): string {
    return join(this.files.home('alice'), ...names);
  }

  /** The text of alice's file. */
  get text(): string {
    return readFileSync(this.path('.ssh/authorized_keys'), 'latin1');
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }

  push(publicKey = new EphemeralKey().publicLine, user = 'alice', validMs = 60_000) {
    const script = pushScriptFor(pushValues(publicKey, user, validMs)).replaceAll('/bin/sh', this.#shell);
    return this.files.runScript({ lines: script.split('\n'), timeoutMs: 30_000, platformType: 'Linux' });
  }

  async refuses(t: Test, complaint: RegExp, name: string): Promise<void> {
    t.match(await this.push(), { status: 1, stdout: '', stderr: complaint }, name);
  }
}

function stampOf(line: string): string {
  return /"([0-9Z]+)"/.exec(line)![1]!;
}

t.test('values with anything that a shell minds are not sent', async (t) => {
  const key = new EphemeralKey().publicLine;
  t.match(pushValues(key, 'deploy', 120_000), { user: 'deploy', seconds: '120', key: key.split(' ')[1] });
  const users = [
    "a'b",
    'a b',
    'a\nb',
    'a\n',
    '$(id)',
    '`id`',
    '-a',
    '1000',
    '',
    'a;b',
    '{{ key }}',
    'a'.repeat(33),
    'ä',
  ];
  for (const user of users)
    t.throws(() => pushValues(key, user, 60_000), { code: 'push-refused' }, JSON.stringify(user));
  const [type, base64] = key.split(' ');
  const lines = [
    `${key}'; id`,
    `${type} ${base64} mallory`,
    `${type} ${base64}\nssh-ed25519 AAAA`,
    `command="id" ${key}`,
    `ssh-rsa ${base64}`,
    `${type} ${base64!.slice(0, -1)}'`,
    `${type} ${base64} keyhole\n`,
    '',
  ];
  for (const line of lines)
    t.throws(() => pushValues(line, 'a', 60_000), { code: 'push-refused' }, JSON.stringify(line));
  for (const ms of [0, 29_000, 1_000_000, Number.NaN])
    t.throws(() => pushValues(key, 'a', ms), { code: 'push-refused' });
  const hostile = { user: "'; id #", key: base64!, seconds: '60' };
  t.throws(() => pushScriptFor(hostile), { code: 'push-refused' });
});

t.test('the script has nothing in it that the agent would replace', async (t) => {
  const names = [...pushScript.matchAll(/\{\{(.*?)\}\}/g)].map(([, name]) => name);
  t.same(names, [' user ', ' key ', ' seconds ']);
  t.notMatch(pushScript, /\$\$/);
  t.notMatch(pushScriptFor(pushValues(new EphemeralKey().publicLine, 'a', 60_000)), /\{\{/);
  for (const pattern of Object.values(pushPatterns)) t.match(pattern.source, /^\^.*\$$/, 'the whole value');
});

for (const shell of installed) {
  t.test(`under ${shell}`, async (t) => {
    await t.test('a home without .ssh gets one that sshd takes', async (t) => {
      const node = new Node(t, shell);
      const before = Math.floor(Date.now() / 1000);
      const key = new EphemeralKey().publicLine;
      t.match(await node.push(key, 'alice', 90_000), {
        status: 0,
        stderr: '',
        stdout: /^keyhole: the key of alice is good/,
      });
      t.equal(statSync(node.path('.ssh')).mode & 0o7777, 0o700);
      t.equal(statSync(node.path('.ssh/authorized_keys')).mode & 0o7777, 0o600);
      t.equal(node.lines.length, 1);
      const [line] = node.lines as [string];
      t.ok(line.includes(key.split(' ')[1]!));
      const end = Number(ours.exec(line)![1]);
      t.ok(end >= before + 90 && end <= Date.now() / 1000 + 90, 'its end is by the clock of the node');
      t.equal(stampOf(line), `${new Date(end * 1000).toISOString().replace(/\..*|[-:T]/g, '')}Z`);
      t.same(readdirSync(node.path('.ssh')), ['authorized_keys']);
    });

    await t.test('everything else in the file stays as it is, byte for byte', async (t) => {
      const node = new Node(t, shell);
      const others = `# mine\r\n\n \tssh-rsa AAAA\\x "q" 'q' $(id) keyhole:1\xff\xfe\nssh-ed25519 AAAA no end of line`;
      mkdirSync(node.path('.ssh'), { mode: 0o755 });
      writeFileSync(node.path('.ssh/authorized_keys'), others, { encoding: 'latin1', mode: 0o440 });
      const inode = statSync(node.path('.ssh')).ino;
      const key = new EphemeralKey().publicLine;
      for (const push of [1, 2]) {
        t.match(await node.push(key), { status: 0, stderr: '' });
        const [first, ...rest] = node.text.split('\n');
        t.match(first, ours, `push ${push}: one line of ours`);
        t.equal(rest.join('\n'), others);
        t.equal(statSync(node.path('.ssh/authorized_keys')).mode & 0o7777, 0o440);
      }
      t.equal(statSync(node.path('.ssh')).ino, inode);
      t.equal(statSync(node.path('.ssh')).mode & 0o7777, 0o755);
      t.same(readdirSync(node.path('.ssh')), ['authorized_keys']);
    });

    await t.test('lines of ours whose time is over are removed, and no others', async (t) => {
      const node = new Node(t, shell);
      const now = Math.floor(Date.now() / 1000);
      const line = (end: number, comment = `keyhole:${end}`, more = '') =>
        `expiry-time="20261122101112Z"${more} ${new EphemeralKey().publicLine.replace(/ keyhole$/, '')} ${comment}`;
      const kept = [
        line(now + 50),
        line(0, 'expired, but not ours'),
        line(0, `xkeyhole:${now - 5}`),
        line(0, `keyhole:${now - 5}`, ',pty'),
        `# ${line(now - 5)}`,
        `ssh-ed25519 AAAA keyhole:${now - 5}`,
      ];
      const gone = [line(now - 1), line(now - 100_000), line(now + 100_000), line(1), line(now - 1)];
      const lines = [kept[0], gone[0], kept[1], gone[1], gone[2], kept[2], kept[3], gone[3], kept[4], gone[4], kept[5]];
      mkdirSync(node.path('.ssh'), { mode: 0o700 });
      writeFileSync(node.path('.ssh/authorized_keys'), `${lines.join('\n')}\n`);
      t.match(await node.push(), { status: 0 });
      t.same(node.lines.slice(1), kept);
    });

    await t.test('what is in the way is refused and left alone', async (t) => {
      const node = new Node(t, shell);
      const prey = node.path('prey');
      mkdirSync(prey);
      symlinkSync(prey, node.path('.ssh'));
      await node.refuses(t, /keyhole: \S+\/\.ssh is a link/, 'a link in place of .ssh');
      t.same(readdirSync(prey), []);
      rmSync(node.path('.ssh'));

      writeFileSync(node.path('.ssh'), '');
      await node.refuses(t, /\.ssh is not a folder/, 'a file in place of .ssh');
      rmSync(node.path('.ssh'));

      mkdirSync(node.path('.ssh'), { mode: 0o700 });
      const file = node.path('.ssh/authorized_keys');
      for (const target of [join(prey, 'new'), '/etc/hostname']) {
        symlinkSync(target, file);
        await node.refuses(t, /authorized_keys is a link/, `a link to ${target}`);
        rmSync(file);
      }
      t.same(readdirSync(prey), []);
      mkdirSync(file);
      await node.refuses(t, /authorized_keys is not a file/, 'a folder');
      rmSync(file, { recursive: true });
      spawnSync('mkfifo', [file]);
      await node.refuses(t, /authorized_keys is not a file/, 'a pipe');
      rmSync(file);

      // Left by who knows whom, under the name of the new file.
      symlinkSync(join(prey, 'victim'), node.path('.ssh/.authorized_keys.keyhole'));
      t.match(await node.push(), { status: 0 });
      t.same(readdirSync(prey), []);
      t.same(readdirSync(node.path('.ssh')), ['authorized_keys']);

      if (!isRoot) return;
      const before = node.text;
      chownSync(file, 65_534, 65_534);
      await node.refuses(t, /authorized_keys does not belong to alice/, 'a file of somebody else');
      t.equal(node.text, before);
      lchownSync(node.path('.ssh'), 65_534, 65_534);
      await node.refuses(t, /\.ssh does not belong to alice/, 'a folder of somebody else');
    });

    await t.test('what the node lacks is said', async (t) => {
      const node = new Node(t, shell);
      t.match(await node.push(undefined, 'bob'), { status: 1, stderr: /keyhole: there is no user bob on the node/ });
      node.sshd('7.4');
      await node.refuses(t, /OpenSSH 7\.4; keys with an end need 7\.7/, 'an old sshd');
      t.notOk(existsSync(node.path('.ssh')));
      rmSync(node.path(), { recursive: true });
      node.sshd('9.2');
      await node.refuses(t, /alice has no home at /, 'no home');
    });

    await t.test('the time is written as the sshd of the node reads it', async (t) => {
      const node = new Node(t, shell);
      const at = Date.parse('2026-10-25T00:30:00Z') / 1000;
      const real = shell === 'busybox' ? 'busybox date' : '/bin/date';
      const clock = (now: number) =>
        node.files.install(
          'date',
          `[ "$*" = +%s ] && echo ${now} && exit\nTZ=CET-1CEST,M3.5.0,M10.5.0/3 exec ${real} "$@"`,
        );
      const stamp = async (version: string, now: number) => {
        node.sshd(version);
        clock(now);
        t.match(await node.push(), { status: 0, stderr: '' });
        return stampOf(node.lines[0]!);
      };
      t.equal(await stamp('9.1', at), '20261025003100Z', 'UTC since 9.1');
      t.equal(await stamp('10.5', at), '20261025003100Z');
      t.equal(await stamp('9.0', at - 86_400), '20261024023100', 'local time before');
      t.equal(await stamp('7.7', at + 86_400), '20261026013100', 'in winter too');
      // At 01:00 UTC the clocks go from 03:00 back to 02:00: sshd may take 02:31 for either.
      t.equal(await stamp('8.9', at), '20261025030100', 'the next that comes once');
      t.equal(await stamp('8.9', at + 3_600), '20261025030100', 'also from the second of the two');
      t.equal(await stamp('8.9', at - 3_600), '20261025013100');
      node.files.install('sshd', 'echo dropbear >&2; exit 1');
      t.match(await node.push(), { status: 0 });
      t.equal(stampOf(node.lines[0]!), '20261025013100', 'local time where there is no telling');
    });
  });
}

t.test('parallel pushes for several users wait for each other', async (t) => {
  const users = ['alice', 'bob', 'carol'];
  const node = new Node(t, installed[0]!, Object.fromEntries(users.map((user) => [user, {}])));
  const pushes = Array.from({ length: 21 }, (_, at) => ({ user: users[at % 3]!, key: new EphemeralKey().publicLine }));
  const results = await Promise.all(pushes.map(({ user, key }) => node.push(key, user)));
  t.ok(results.every(({ status, stderr }) => status === 0 && stderr === ''));
  for (const user of users) {
    const text = readFileSync(join(node.files.home(user), '.ssh/authorized_keys'), 'utf8');
    const lines = text.split('\n').slice(0, -1);
    t.ok(
      lines.every((line) => ours.test(line)),
      `${user}: whole lines`,
    );
    const found = lines.map((line) => line.split(' ')[2]).sort();
    const wanted = pushes.filter((push) => push.user === user).map(({ key }) => key.split(' ')[1]);
    t.same(found, wanted.sort(), `${user}: those of each push, and no other's`);
    t.same(readdirSync(join(node.files.home(user), '.ssh')), ['authorized_keys']);
  }
});

t.test('the file is changed by its owner’s own process', async (t) => {
  if (!isRoot) return t.comment('only root can become somebody else');
  for (const shell of installed) {
    const node = new Node(t, shell, { nobody: { uid: 65_534, gid: 65_534 } });
    const home = node.files.home('nobody');
    chmodSync(join(node.files.folder, 'home'), 0o755);
    chownSync(home, 65_534, 65_534);
    t.match(await node.push(undefined, 'nobody'), { status: 0, stderr: '' }, shell);
    t.match(statSync(join(home, '.ssh/authorized_keys')), { uid: 65_534, gid: 65_534 });
    // A folder that only root can read, at the end of a link of the user's.
    rmSync(join(home, '.ssh'), { recursive: true });
    const secret = join(node.files.folder, 'secret');
    mkdirSync(secret, { mode: 0o700 });
    symlinkSync(secret, join(home, '.ssh'));
    t.match(await node.push(undefined, 'nobody'), { status: 1 });
    t.same(readdirSync(secret), []);
  }
});
