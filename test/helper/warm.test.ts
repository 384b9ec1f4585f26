// warm.pl as a process, in front of a daemon in this one and behind a program that takes the descriptor as ssh does. Where it is
// to leave the rest to Node, Node is the program's own source; where it is not, there is none.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { warmHelper } from '../../scripts/warm-helper.ts';
import { type Frame, FrameType } from '../../src/control/frame.ts';
import { type ControlLink, expectFrame } from '../../src/control/link.ts';
import { type OpenRequest, parseOpenRequest } from '../../src/control/message.ts';
import { shortFolder } from '../unix-sockets.ts';
import { hasPython, main, playSsh, setUp, start, target } from './played-daemon.ts';

const perl = '/usr/bin/perl';
const skip =
  (process.platform !== 'linux' && 'Linux only') ||
  (!existsSync(perl) && `no ${perl}`) ||
  (!hasPython && 'no python3 to play ssh');
const script = join(t.testdir({ 'warm.pl': warmHelper() }), 'warm.pl');
const noNode = '/nobody/has/node';
const plain = ['proxy', '--', target, '22', 'root'];

/** What tap has Node load. */
const unset = 'unset _TAPJS_PROCESSINFO_PARENT_ NODE_OPTIONS; ';

/** As the launcher runs it, after what a shell is told to do. */
function underSsh(words: string[], node: string, rounds = 1, before = ''): string[] {
  const shell = ['sh', '-c', `${unset}${before}exec ${perl} "$@" 3>&2 2>/dev/null`, 'sh'];
  return [...playSsh, String(rounds), ...shell, script, node, '--max-semi-space-size=1', main, ...words];
}

interface Round {
  status: number;
  stderr: string;
  good: boolean;
}

async function results(started: ReturnType<typeof start>): Promise<Round[]> {
  const { stdout, stderr } = await started.ended;
  if (stderr !== '') throw new Error(stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

async function readOpen(link: ControlLink): Promise<OpenRequest> {
  return parseOpenRequest(expectFrame(await link.receive(), FrameType.open));
}

/** The rest of a tunnel's life. */
async function serve(link: ControlLink): Promise<void> {
  link.send(FrameType.ready);
  const socket = await link.firstBytes();
  socket.write('SSH-2.0-daemon\r\n');
  socket.pipe(socket);
}

const passed = { status: 0, stderr: '', good: true };

t.test('its syntax is what strict perl takes, without a warning', { skip }, async (t) => {
  const { status, stderr } = spawnSync(perl, ['-wc', '-Mstrict', script]);
  t.match({ status, stderr: stderr.toString() }, { status: 0, stderr: `${script} syntax OK\n` });
});

t.test('it asks, passes the descriptor and is gone, again and again, without Node', { skip }, async (t) => {
  let asked = 0;
  const env = await setUp(t, async (link) => {
    await readOpen(link);
    asked += 1;
    link.send(FrameType.progress, { text: 'opening', deadlineMs: 14_000 });
    await serve(link);
  });
  const rounds = await results(start(t, underSsh(plain, noNode, 40), env));
  t.equal(rounds.length, 40);
  t.strictSame(
    rounds.filter((round) => round.status !== 0 || round.stderr !== '' || !round.good),
    [],
  );
  t.equal(asked, 40);
});

t.test('it asks for the same as Node', { skip }, async (t) => {
  const requests: OpenRequest[] = [];
  const env = await setUp(t, async (link) => {
    requests.push(await readOpen(link));
    await serve(link);
  });
  const home = env.HOME!;
  const [named, agent] = [join(home, 'named'), join(home, 'agent.sock')];
  mkdirSync(named, { mode: 0o700 });
  const listening = [join(named, 'control.sock'), agent].map((path) => {
    const server = createServer().listen(path);
    t.teardown(() => server.close());
    return once(server, 'listening');
  });
  await Promise.all(listening);
  const own = join(home, '.ssh/keyhole/control.sock');
  const odd = 'ODD="$(printf \'a\\001\\t"\\\\\\n\\303\\251\\377$x@y\')"; export ODD; LC_ALL=zz; export LC_ALL; ';
  const cases: [what: string, words: string[], vars: NodeJS.ProcessEnv, before?: string][] = [
    ['plainly', plain, {}],
    ['without a user', ['proxy', '--', target, '2222'], {}],
    ['without dashes', ['proxy', target, '22', 'root'], {}],
    ['with odd variables', plain, { NODE_EXTRA_CA_CERTS: '/dev/null' }, odd],
    ['with an agent', plain, { SSH_AUTH_SOCK: agent }],
    ['with an agent that is us', plain, { SSH_AUTH_SOCK: own }],
    ['with an agent that is none', plain, { SSH_AUTH_SOCK: '/dev/null' }],
    ['with another folder', plain, { KEYHOLE_RUNTIME_DIR: join(home, '.ssh/keyhole/') }],
    ['with a folder that is a word', ['proxy', `--runtime-dir=${home}/.ssh/keyhole`, ...plain.slice(1)], {}],
    ['in a folder that is gone', plain, {}, 'mkdir "$HOME/gone"; cd "$HOME/gone"; rmdir "$HOME/gone"; '],
    ['with much', plain, Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`MUCH${n}`, '"'.repeat(60_000)]))],
  ];
  for (const [what, words, vars, before] of cases) {
    requests.length = 0;
    const all = { ...env, ...vars };
    const both = [
      await results(start(t, underSsh(words, noNode, 1, before), all)),
      await results(
        start(
          t,
          [...playSsh, '1', 'sh', '-c', `${unset}${before ?? ''}exec "$@"`, 'sh', process.execPath, main, ...words],
          all,
        ),
      ),
    ];
    if (!t.match(both, [[{ status: 0, stderr: '' }], [{ status: 0, stderr: '' }]], what)) continue;
    const [ours, theirs] = requests.map(({ socketInode, caller: { pid, parentPid, ...caller }, ...request }) => {
      t.ok(socketInode! > 0 && pid > 0 && parentPid > 0 && pid !== parentPid);
      return { ...request, caller };
    });
    t.strictSame(ours, theirs, what);
  }
});

t.test('what is not usual it leaves to Node, in the same conversation', { skip }, async (t) => {
  const conversations: Frame[][] = [];
  const play = async (unusual: (link: ControlLink, heard: Frame[]) => Promise<void> | void) => {
    conversations.length = 0;
    const env = await setUp(t, async (link) => {
      const heard: Frame[] = [await link.receive()];
      conversations.push(heard);
      link.send(FrameType.progress, { text: 'opening', deadlineMs: 14_000 });
      await unusual(link, heard);
    });
    const aws = { AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y' };
    const [round] = await results(start(t, underSsh(plain, process.execPath), { ...env, ...aws }));
    t.equal(conversations.length, 1, 'it was asked once');
    t.equal(conversations[0]![0]!.type, FrameType.open);
    return round!;
  };

  const told = await play((link) => {
    link.send(FrameType.error, { code: 'bad-setting', message: 'it is wrong', hint: 'do it right', exitStatus: 2 });
  });
  t.match(told, { status: 2, stderr: 'keyhole: it is wrong\nkeyhole: hint: do it right\n', good: false });

  const shown = await play(async (link) => {
    link.send(FrameType.progress, { text: 'it takes long', deadlineMs: 14_000, shown: true });
    await serve(link);
  });
  t.match(shown, { status: 0, stderr: 'keyhole: it takes long\n', good: true });

  const answered = await play(async (link, heard) => {
    link.send(FrameType.resolve, {});
    heard.push(await link.receive());
    await serve(link);
  });
  t.match(answered, passed);
  t.equal(conversations[0]![1]!.type, FrameType.resolved);

  // Nothing more comes until somebody else has taken the conversation over.
  const silent = await play(async (link) => {
    const { pid } = parseOpenRequest(conversations[0]![0]!.body).caller;
    while (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--control-fd=')) await sleep(20);
    await serve(link);
  });
  t.match(silent, passed);

  const large = await play(async (link) => {
    link.send(FrameType.progress, { text: 'x'.repeat(1000), padding: 'x'.repeat(100_000) });
    await serve(link);
  });
  t.match(large, passed);
});

t.test('what it can’t begin it leaves to Node, which begins it', { skip }, async (t) => {
  let asked = 0;
  const behaviour = async (link: ControlLink) => {
    await readOpen(link);
    asked += 1;
    await serve(link);
  };
  const env = await setUp(t, behaviour);
  const words = async (words: string[], vars: NodeJS.ProcessEnv = {}) => {
    asked = 0;
    const [round] = await results(start(t, underSsh(words, process.execPath), { ...env, ...vars }));
    return { ...round, asked };
  };
  t.match(await words(['proxy', '--deadline=9s', ...plain.slice(1)]), { ...passed, asked: 1 });
  t.match(await words(['proxy', '--', target]), {
    status: 2,
    stderr: /^keyhole: proxy takes a host, a port/,
    asked: 0,
  });
  t.match(await words(['proxy', '-x', target, '22']), {
    status: 2,
    stderr: /^keyhole: "-x" is not an option/,
    asked: 0,
  });

  chmodSync(join(env.HOME!, '.ssh/keyhole'), 0o750);
  t.match(await words(plain), { status: 1, stderr: /is open to others \(mode 0750\)/, asked: 0 });
  chmodSync(join(env.HOME!, '.ssh/keyhole'), 0o700);

  const other = await setUp(t, behaviour, { version: '99.0.0' });
  t.match(await words(plain, other), { ...passed, asked: 1 }, 'a newer daemon');
  const later = await setUp(t, behaviour, { protocol: 99, version: '99.0.0' });
  const alone = { status: 2, stderr: /^keyhole: no AWS region is set/, asked: 0 };
  t.match(await words(plain, later), alone, 'a daemon of a protocol to come');

  const closing = await setUp(t, async (link) => {
    await readOpen(link);
    asked += 1;
    if (asked < 3) link.socket.destroy();
    else await serve(link);
  });
  t.match(await words(plain, closing), { ...passed, asked: 3 }, 'a daemon that goes away under the request');
});

t.test(
  'an ssh that goes away before the tunnel is open ends it at once, whatever the daemon does',
  { skip },
  async (t) => {
    const [asked, left] = [Promise.withResolvers<number>(), Promise.withResolvers<void>()];
    const env = await setUp(t, async (link) => {
      asked.resolve((await readOpen(link)).caller.pid);
      link.closed.addEventListener('abort', () => left.resolve());
    });
    const ssh = start(t, underSsh(plain, noNode), env);
    const pid = await asked.promise;
    const since = performance.now();
    ssh.child.kill('SIGKILL');
    await left.promise;
    while (existsSync(`/proc/${pid}`)) await sleep(20);
    t.ok(performance.now() - since < 3_000);
  },
);

/** Shows with what it was started. */
function showingNode(folder: string): string {
  const node = join(folder, 'node');
  writeFileSync(node, '#!/bin/sh\necho "$@" >&2\nexit 7\n', { mode: 0o755 });
  return node;
}

t.test(
  'a daemon that falls silent is Node’s to wait for, which is told for how long that went on',
  { skip },
  async (t) => {
    const env = await setUp(t, async (link) => {
      await readOpen(link); // and nothing more is said
    });
    const node = showingNode(env.HOME!);
    const [round] = await results(start(t, underSsh(plain, node), { ...env, KEYHOLE_DEADLINE: '9s' }));
    const asked = / proxy --control-fd=\d+ --waited=[12] -- i-0123456789abcdef0 22 root\n$/;
    t.match(round, { status: 7, stderr: asked });
  },
);

t.test('a daemon that takes no connection is not waited for', { skip }, async (t) => {
  const home = shortFolder(t);
  const sshDir = join(home, '.ssh/keyhole');
  mkdirSync(sshDir, { recursive: true, mode: 0o700 });
  // It listens, and its backlog is full.
  const listen = `socket my $s, 1, 1, 0; bind $s, pack 'S a108', 1, $ARGV[0]; listen $s, 0;
    socket my $c, 1, 1, 0; connect $c, pack 'S a108', 1, $ARGV[0]; syswrite STDOUT, 'full'; sleep 60`;
  const daemon = start(t, [perl, '-e', listen, join(sshDir, 'control.sock')], { PATH: process.env.PATH }, 'ignore');
  while (daemon.stdout() !== 'full') await sleep(20);
  const env = { PATH: process.env.PATH, HOME: home, KEYHOLE_DEADLINE: '9s' };
  const [round] = await results(start(t, underSsh(plain, showingNode(home)), env));
  t.match(round, { status: 7, stderr: `--max-semi-space-size=1 ${main} ${plain.join(' ')}\n` });
});

t.test('without Node it says so', { skip }, async (t) => {
  const [round] = await results(start(t, underSsh(plain, noNode), { PATH: process.env.PATH, HOME: shortFolder(t) }));
  t.match(round, { status: 1, stderr: `keyhole: cannot start ${noNode}: No such file or directory\n` });
});
