// An sshd for machines without one, made with the ssh2 library: exec, shell and sftp as the current user.
// There is no pseudo terminal: a shell that asked for one runs on pipes, with line ends translated.
// See sshd.ts for what it promises.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { constants, homedir } from 'node:os';
import { Transform } from 'node:stream';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel, type Session } from 'ssh2';
import { generateKeyPair } from './key-pair.ts';
import { serveSftp } from './sftp.ts';
import type { Door, SshdRequest, StartedSshd } from './sshd.ts';

export async function startEmbeddedSshd(request: SshdRequest): Promise<StartedSshd> {
  const hostKey = generateKeyPair();
  const authorized = request.authorizedKeys.map(parsePublicKey);
  const servers = await Promise.all(
    request.instances.map(() => startServer(hostKey.private, request.user, authorized)),
  );
  return {
    kind: 'ssh2',
    hostKeys: [hostKey.public.trim().split(' ').slice(0, 2).join(' ')],
    doors: servers.map(({ door }) => door),
    stop: async () => void (await Promise.all(servers.map((server) => server.stop()))),
  };
}

/** The sshd of one instance. */
async function startServer(
  hostKey: string,
  user: string,
  authorized: ParsedKey[],
): Promise<{ door: Door; stop(): Promise<void> }> {
  const pushed = new Map<string, ParsedKey[]>();
  const connections = new Set<Connection>();
  const server = new ssh2.Server({ hostKeys: [hostKey] }, (connection) => {
    connections.add(connection);
    connection.once('close', () => connections.delete(connection));
    connection.on('error', () => connection.end()); // A peer that broke off or broke the protocol.
    connection.on('authentication', (context) =>
      authenticate(context, user, [...authorized, ...(pushed.get(user) ?? [])]),
    );
    connection.on('session', (accept) => serveSession(accept(), user));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    door: {
      port,
      // EC2 Instance Connect's command passes on no other lines (protocol.md 9.6).
      publishKeys: (name, lines) => {
        pushed.set(name, lines.filter((line) => line.startsWith('ssh-')).map(parsePublicKey));
      },
    },
    async stop() {
      const closed = once(server, 'close');
      server.close();
      for (const connection of connections) connection.end();
      await closed;
    },
  };
}

function parsePublicKey(text: string): ParsedKey {
  const key = ssh2.utils.parseKey(text);
  if (key instanceof Error) throw key;
  return key;
}

// RFC 4252 section 7: first the key alone is offered, then it comes with a signature over the session.
function authenticate(context: AuthContext, user: string, keys: ParsedKey[]): void {
  if (context.method === 'publickey' && context.username === user) {
    const key = keys.find((candidate) => candidate.getPublicSSH().equals(context.key.data));
    const { signature, blob, hashAlgo } = context;
    if (key !== undefined && (signature === undefined || key.verify(blob!, signature, hashAlgo) === true)) {
      context.accept();
      return;
    }
  }
  context.reject(['publickey']);
}

function serveSession(session: Session, user: string): void {
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    HOME: homedir(),
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/sh',
  };
  let terminal = false;
  let child: ChildProcess | undefined;
  session.on('pty', (accept, _reject, info) => {
    terminal = true;
    environment.TERM = info.term ?? 'dumb';
    accept?.();
  });
  session.on('window-change', (accept) => accept?.());
  session.on('env', (_accept, reject) => reject?.());
  session.on('signal', (accept, _reject, info) => {
    accept?.();
    child?.kill(`SIG${info.name}` as NodeJS.Signals);
  });
  const run = (args: string[], channel: ServerChannel) => {
    child = spawn('/bin/sh', args, { cwd: homedir(), env: environment, detached: true });
    connectProcess(child, channel, terminal);
  };
  session.on('exec', (accept, _reject, info) => run(['-c', info.command], accept()));
  session.on('shell', (accept) => run(['-i'], accept()));
  session.on('sftp', (accept) => serveSftp(accept(), homedir()));
}

/** Joins a process to its channel: three streams, then the exit status; a channel that closes early takes the process with it. */
function connectProcess(child: ChildProcess, channel: ServerChannel, terminal: boolean): void {
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new Error('the process was started without pipes');
  stdin.on('error', () => {}); // It may end without having read all.
  channel.on('error', () => {});
  if (terminal) {
    channel.pipe(translated('\r', '\n')).pipe(stdin);
    stdout.pipe(translated('\n', '\r\n')).pipe(channel, { end: false });
    stderr.pipe(translated('\n', '\r\n')).pipe(channel, { end: false });
  } else {
    channel.pipe(stdin);
    stdout.pipe(channel, { end: false });
    stderr.pipe(channel.stderr, { end: false });
  }
  let closed = false;
  channel.once('close', () => {
    closed = true;
    if (child.exitCode === null && child.signalCode === null) hangUp(child);
  });
  child.once('error', () => channel.close());
  child.once('close', (code, signal) => {
    if (closed) return;
    // `close` at once would cut off what the client's window has not let through yet.
    channel.stderr.end(() => {
      if (signal === null) channel.exit(code ?? 255);
      else channel.exit(signal.slice('SIG'.length), false, '');
      channel.end();
    });
  });
}

/** The process leads a group of its own, so that what a shell started goes too. */
function hangUp(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, constants.signals.SIGHUP);
  } catch {
    // Gone since.
  }
}

/** What a terminal does to line ends. Latin-1 leaves every other byte as it is. */
function translated(from: string, to: string): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      done(null, Buffer.from(chunk.toString('latin1').replaceAll(from, to), 'latin1'));
    },
  });
}
