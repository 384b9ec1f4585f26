import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Keyring } from '../../src/agent/keyring.ts';
import {
  FrameReader,
  failure,
  maxMessageLength,
  parseIdentitiesAnswer,
  requestIdentities,
  serializeFrame,
  success,
} from '../../src/agent/message.ts';
import { AgentListener, type AgentListenerOptions, type AgentPolicy } from '../../src/agent/server.ts';
import { isOwnSocket, removeSocket, sweepSockets } from '../../src/agent/socket-file.ts';
import { UpstreamAgent } from '../../src/agent/upstream-agent.ts';
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';
import { ManualClock, turn } from '../manual-clock.ts';

function makeFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'kh-agent-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Change = Omit<Partial<AgentListenerOptions>, 'policy'> & { policy?: Partial<AgentPolicy> };

async function open(t: Test, folder: string, change: Change = {}) {
  const keyring = new Keyring({ clock: systemClock, lifetimeMs: 3_600_000 });
  const policy: AgentPolicy = {
    key: async () => keyring.current(),
    allowUnbound: true,
    upstream: undefined,
    ...change.policy,
  };
  const base = { path: join(folder, 'agent.sock'), keyring, ownFolders: [folder], clock: systemClock, log: silent };
  const listener = await AgentListener.open({ ...base, ...change, policy });
  t.teardown(() => listener.close());
  return { listener, keyring };
}

/** A client that sends messages and reads answers. */
class Client {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly #frames = new FrameReader();
  readonly #answers: Buffer[] = [];
  #notify = () => {};

  constructor(t: Test, path: string) {
    this.socket = createConnection(path);
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.on('data', (chunk: Buffer) => {
      this.#answers.push(...this.#frames.push(chunk));
      this.#notify();
    });
    t.teardown(() => this.socket.destroy());
  }

  async answers(count: number): Promise<Buffer[]> {
    while (this.#answers.length < count) await new Promise<void>((resolve) => (this.#notify = resolve));
    return this.#answers.splice(0, count);
  }

  async ask(message: Buffer): Promise<Buffer> {
    this.socket.write(serializeFrame(message));
    return (await this.answers(1))[0]!;
  }
}

/** An agent of the caller that does what `serve` does with each connection. */
async function startUpstream(t: Test, path: string, serve: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

t.test('the socket is for its owner alone, and goes when the listener does', async (t) => {
  const folder = makeFolder(t);
  const { listener } = await open(t, folder);
  t.equal(lstatSync(listener.path).mode & 0o777, 0o600);
  t.strictSame(readdirSync(folder), ['agent.sock'], 'nothing unfinished is left');
  const umask = process.umask();
  t.equal(umask & 0o077, 0o022, 'the mask is as before');
  const client = new Client(t, listener.path);
  t.equal(parseIdentitiesAnswer(await client.ask(requestIdentities))!.length, 1);
  t.equal(listener.connections, 1);
  await listener.stop();
  t.strictSame(readdirSync(folder), []);
  t.equal(parseIdentitiesAnswer(await client.ask(requestIdentities))!.length, 1, 'connections go on');
  await listener.close();
  await client.closed;
  t.equal(listener.connections, 0);
});

t.test('a socket is put in place of what was there without a gap, and the old one does not take it away', async (t) => {
  const folder = makeFolder(t);
  const { listener: old } = await open(t, folder);
  let checking = true;
  let refused = 0;
  const checker = (async () => {
    while (checking) {
      const socket = createConnection(old.path);
      await new Promise<void>((resolve) => {
        socket.once('connect', resolve);
        socket.once('error', () => {
          refused += 1;
          resolve();
        });
      });
      socket.destroy();
    }
  })();
  const listeners: AgentListener[] = [];
  for (let round = 0; round < 20; round += 1) {
    listeners.push((await open(t, folder)).listener);
    await listeners.at(-2)?.stop();
  }
  await old.stop();
  checking = false;
  await checker;
  t.equal(refused, 0);
  t.ok(existsSync(old.path));
  const client = new Client(t, old.path);
  t.equal((await client.ask(Buffer.from([99])))[0], failure[0]);
});

t.test('a listener knows whether its name still leads to it', async (t) => {
  const folder = makeFolder(t);
  const { listener: first } = await open(t, folder);
  t.ok(first.isInPlace());
  const { listener: second } = await open(t, folder);
  t.notOk(first.isInPlace());
  t.ok(second.isInPlace());
  unlinkSync(second.path);
  t.notOk(second.isInPlace());
  await second.stop();
  const { listener: third } = await open(t, folder);
  await third.stop();
  t.notOk(third.isInPlace());
});

t.test('a folder that is not ours alone and a path that is too long are refused', async (t) => {
  const folder = makeFolder(t);
  chmodSync(folder, 0o770);
  await t.rejects(open(t, folder), { code: 'unsafe-folder' });
  chmodSync(folder, 0o700);
  symlinkSync(folder, join(folder, 'link'));
  await t.rejects(open(t, join(folder, 'link')), { code: 'unsafe-folder' });
  const path = (length: number) => join(folder, 'x'.repeat(length - folder.length - 1));
  await t.rejects(open(t, folder, { path: path(104) }), { code: 'socket-path' });
  const { listener } = await open(t, folder, { path: path(103) });
  t.equal(Buffer.byteLength(listener.path), 103);
});

t.test('what cannot be replaced is left, and nothing unfinished stays', async (t) => {
  const folder = makeFolder(t);
  mkdirSync(join(folder, 'agent.sock'));
  await t.rejects(open(t, folder), { code: 'EISDIR' });
  await turn();
  t.strictSame(readdirSync(folder), ['agent.sock']);
});

t.test('sockets at which nobody listens are swept away, others are not', async (t) => {
  const folder = makeFolder(t);
  const { listener } = await open(t, folder);
  const { listener: dying } = await open(t, folder, { path: join(folder, 'dying') });
  // As a killed daemon leaves it: the name stays, the listener does not.
  linkSync(dying.path, join(folder, 'dead'));
  await dying.close();
  await until(() => !existsSync(dying.path));
  writeFileSync(join(folder, 'file'), '');
  t.equal(await sweepSockets(folder), 1);
  t.strictSame(readdirSync(folder).sort(), ['agent.sock', 'file']);
  t.ok(await new Client(t, listener.path).ask(requestIdentities));
  t.doesNotThrow(() => removeSocket(join(folder, 'never'), '1:2'));
});

t.test('our own sockets are known under other names, too', async (t) => {
  const folder = makeFolder(t);
  const elsewhere = makeFolder(t);
  const { listener } = await open(t, folder);
  symlinkSync(listener.path, join(elsewhere, 'symlink'));
  linkSync(listener.path, join(elsewhere, 'hard-link'));
  symlinkSync(folder, join(elsewhere, 'folder'));
  await startUpstream(t, join(elsewhere, 'other'), () => {});
  const own = (name: string) => isOwnSocket(join(elsewhere, name), [folder]);
  t.ok(isOwnSocket(listener.path, [folder]));
  t.ok(own('symlink'));
  t.ok(own('hard-link'));
  t.ok(own('folder/agent.sock'));
  t.notOk(own('other'));
  t.notOk(own('missing'));
  t.notOk(isOwnSocket(join(elsewhere, 'other'), [join(folder, 'missing')]));
});

t.test('an upstream that is ourselves is not used', async (t) => {
  const folder = makeFolder(t);
  const elsewhere = makeFolder(t);
  const { listener } = await open(t, folder, { policy: { upstream: join(elsewhere, 'link') } });
  symlinkSync(listener.path, join(elsewhere, 'link'));
  const client = new Client(t, listener.path);
  t.equal(parseIdentitiesAnswer(await client.ask(requestIdentities))!.length, 1);
  t.equal(listener.connections, 1, 'nobody connected a second time');
});

t.test('requests sent together are answered in order, byte by byte as well as at once', async (t) => {
  const folder = makeFolder(t);
  const { listener } = await open(t, folder);
  const unknown = Buffer.alloc(1000, 99);
  const stream = Buffer.concat([unknown, requestIdentities, unknown, requestIdentities].map(serializeFrame));
  const client = new Client(t, listener.path);
  client.socket.write(stream);
  t.strictSame(
    (await client.answers(4)).map((answer) => answer[0]),
    [5, 12, 5, 12],
  );
  for (const byte of stream.subarray(0, 1020)) {
    client.socket.write(Buffer.from([byte]));
    await turn();
  }
  client.socket.write(stream.subarray(1020));
  t.strictSame(
    (await client.answers(4)).map((answer) => answer[0]),
    [5, 12, 5, 12],
  );
});

t.test('a message that is too long or empty ends its connection and no other', async (t) => {
  const folder = makeFolder(t);
  const { listener } = await open(t, folder);
  const bystander = new Client(t, listener.path);
  for (const length of [0, maxMessageLength + 1, 0xffffffff]) {
    const client = new Client(t, listener.path);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    client.socket.write(head);
    await client.closed;
  }
  t.ok(await bystander.ask(requestIdentities));
});

t.test('connections are bounded', async (t) => {
  const folder = makeFolder(t);
  const { listener } = await open(t, folder, { maxConnections: 2 });
  const clients = [new Client(t, listener.path), new Client(t, listener.path)];
  for (const client of clients) t.ok(await client.ask(requestIdentities));
  await new Client(t, listener.path).closed;
  clients[0]!.socket.destroy();
  await until(() => listener.connections === 1);
  t.ok(await new Client(t, listener.path).ask(requestIdentities));
});

t.test('a client that dies while it waits is noticed, here and at the agent of the caller', async (t) => {
  const folder = makeFolder(t);
  const elsewhere = makeFolder(t);
  const upstream = join(elsewhere, 'agent');
  let gone = false;
  const asked = new Promise<void>((resolve) => {
    void startUpstream(t, upstream, (socket) => {
      socket.once('data', () => resolve());
      socket.once('close', () => (gone = true));
    });
  });
  await until(() => existsSync(upstream));
  const { listener } = await open(t, folder, { policy: { upstream } });
  const client = new Client(t, listener.path);
  client.socket.write(serializeFrame(Buffer.from([23, 0])));
  await asked;
  client.socket.destroy();
  await until(() => gone && listener.connections === 0);
});

t.test('a client that sends on while it waits is not read without end', async (t) => {
  const folder = makeFolder(t);
  const upstream = join(makeFolder(t), 'agent');
  await startUpstream(t, upstream, () => {});
  const { listener } = await open(t, folder, { policy: { upstream } });
  const { socket } = new Client(t, listener.path);
  socket.write(serializeFrame(Buffer.from([22, 0])));
  const request = serializeFrame(Buffer.alloc(10_000, 22));
  for (let count = 0; count < 800; count += 1) socket.write(request);
  // Until nothing moves any more.
  let left = -1;
  for (let still = 0; still < 200; still += 1) {
    if (socket.writableLength !== left) still = 0;
    left = socket.writableLength;
    await turn();
  }
  t.ok(left > 6_000_000, 'most of 8 MB is still with the client');
});

t.test('one connection here is one connection there', async (t) => {
  const folder = makeFolder(t);
  const upstream = join(makeFolder(t), 'agent');
  let connections = 0;
  await startUpstream(t, upstream, (socket) => {
    connections += 1;
    const frames = new FrameReader();
    socket.on('data', (chunk: Buffer) => {
      for (const _ of frames.push(chunk)) socket.write(serializeFrame(success));
    });
  });
  const { listener } = await open(t, folder, { policy: { upstream } });
  const clients = [new Client(t, listener.path), new Client(t, listener.path)];
  for (const client of [...clients, ...clients]) t.strictSame(await client.ask(Buffer.from([22, 0])), success);
  t.equal(connections, 2);
});

const misbehaviours: [string, (socket: Socket) => void][] = [
  ['hangs up', (socket) => socket.destroy()],
  ['answers too much', (socket) => socket.write(Buffer.concat([serializeFrame(success), serializeFrame(success)]))],
  ['answers with a message that is too long', (socket) => socket.write(Buffer.from('00040001', 'hex'))],
];
for (const [what, misbehave] of misbehaviours) {
  t.test(`an agent of the caller that ${what} is not used again`, async (t) => {
    const path = join(makeFolder(t), 'agent');
    let connections = 0;
    await startUpstream(t, path, (socket) => {
      connections += 1;
      socket.on('data', () => misbehave(socket));
    });
    const upstream = new UpstreamAgent(path, systemClock);
    t.teardown(() => upstream.close());
    let error: unknown;
    while (error === undefined) {
      await upstream.request(requestIdentities).catch((reason) => {
        error = reason;
      });
    }
    t.match(error, { name: 'TransportError', code: 'agent-upstream' });
    await t.rejects(upstream.request(requestIdentities), { code: 'agent-upstream' });
    t.equal(connections, 1);
  });
}

t.test('an agent of the caller has a limit of time only where one is given', async (t) => {
  const path = join(makeFolder(t), 'agent');
  let answer = () => {};
  const asked: (() => void)[] = [];
  await startUpstream(t, path, (socket) => {
    answer = () => socket.write(serializeFrame(success));
    socket.on('data', () => asked.shift()?.());
  });
  const clock = new ManualClock();
  const upstream = new UpstreamAgent(path, clock);
  t.teardown(() => upstream.close());
  const arrived = new Promise<void>((resolve) => asked.push(resolve));
  const signing = upstream.request(Buffer.from([13]));
  await arrived;
  await clock.advance(600_000);
  answer();
  t.strictSame(await signing, success, 'a touch takes its time');
  const listing = upstream.request(requestIdentities, 5000);
  const ended = t.rejects(listing, { code: 'agent-upstream' });
  await clock.advance(5000);
  await ended;
  t.equal(clock.pending, 0);
});

t.test('an agent of the caller that is not there is an error, whatever its path', async (t) => {
  const folder = makeFolder(t);
  for (const path of [join(folder, 'missing'), folder, join(folder, 'x'.repeat(300)), 'a\0b']) {
    await t.rejects(new UpstreamAgent(path, systemClock).request(requestIdentities), { code: 'agent-upstream' });
  }
  const { listener } = await open(t, folder, { policy: { upstream: join(folder, '../missing') } });
  const client = new Client(t, listener.path);
  t.equal(parseIdentitiesAnswer(await client.ask(requestIdentities))!.length, 1);
  t.strictSame(await client.ask(Buffer.from([22, 0])), failure);
});
