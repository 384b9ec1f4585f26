// OpenSSH's own server with a configuration, host keys and files in a temporary folder. Works as root and as an
// ordinary user (who can then log in as himself only). See sshd.ts for what it promises; keeper.sh ends it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import ssh2 from 'ssh2';
import { makeNodeFiles, type NodeFiles } from '../node/files.ts';
import { makeTemporaryFolder, removeFolder } from '../temporary.ts';
import { generateKeyPair } from './key-pair.ts';
import type { Door, SshdRequest, StartedSshd } from './sshd.ts';

export const opensshPath = '/usr/sbin/sshd';
const portAttempts = 5;
/** What one sshd listens on at most: MAX_LISTEN_SOCKS of its source. */
const portsPerServer = 16;
const keeper = join(import.meta.dirname, 'keeper.sh');
const pushedKeys = join(import.meta.dirname, 'pushed-keys.sh');

type HostKey = ReturnType<typeof ssh2.utils.generateKeyPairSync>;

interface Server {
  doors: Door[];
  stop(): Promise<void>;
}

export async function startOpenssh(request: SshdRequest): Promise<StartedSshd> {
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 }); // Privilege separation.
  const hostKeys = [generateKeyPair(), ssh2.utils.generateKeyPairSync('ecdsa', { bits: 256 })];
  const servers: Server[] = [];
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    for (let at = 0; at < request.instances.length; at += portsPerServer) {
      const instances = request.instances.slice(at, at + portsPerServer);
      servers.push(await startServer({ ...request, instances }, hostKeys));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    kind: 'openssh',
    hostKeys: hostKeys.map((hostKey) => hostKey.public.trim().split(' ').slice(0, 2).join(' ')),
    doors: servers.flatMap((server) => server.doors),
    stop,
  };
}

/** sshd cannot choose free ports itself, so some are tried after others. */
async function startServer(request: SshdRequest, hostKeys: HostKey[]): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    const ports = await freePorts(request.instances.length);
    const folder = makeTemporaryFolder('sshd');
    let files: NodeFiles[];
    try {
      files = writeFiles(folder, request, ports, hostKeys);
    } catch (error) {
      removeFolder(folder);
      throw error;
    }
    const { child, complaints } = await listen(folder, ports.length);
    if (complaints === undefined) {
      const doors = ports.map((port, at) => ({
        port,
        publishKeys: publisher(keysFolder(folder, request, at)),
        files: files[at]!,
      }));
      return { doors, stop: () => end(child) };
    }
    await end(child);
    const inUse = complaints.some((line) => line.includes('Address already in use'));
    if (!inUse || attempt === portAttempts) throw new Error(`sshd does not start: ${complaints.join('; ')}`);
  }
}

/** The file systems of the nodes, one for each port. */
function writeFiles(folder: string, request: SshdRequest, ports: number[], hostKeys: HostKey[]): NodeFiles[] {
  hostKeys.forEach((hostKey, at) => {
    writeFileSync(join(folder, `host_${at}`), hostKey.private, { mode: 0o600 });
    writeFileSync(join(folder, `host_${at}.pub`), `${hostKey.public.trim()}\n`);
  });
  writeFileSync(join(folder, 'authorized_keys'), request.authorizedKeys.map((line) => `${line}\n`).join(''));
  for (const at of ports.keys()) mkdirSync(keysFolder(folder, request, at), { recursive: true });
  const sshdConfig = join(folder, 'sshd_config');
  writeFileSync(sshdConfig, configuration(folder, request, ports, hostKeys.length));
  const users = Object.fromEntries([request.user, ...request.users].map((name) => [name, {}]));
  return [...ports.keys()].map((at) => makeNodeFiles({ folder: nodeFolder(folder, request, at), users, sshdConfig }));
}

function nodeFolder(folder: string, { instances }: SshdRequest, at: number): string {
  return join(folder, 'nodes', instances[at]!);
}

function keysFolder(folder: string, { instances }: SshdRequest, at: number): string {
  return join(folder, 'keys', instances[at]!);
}

/** One file for each user, replaced whole: a login may be reading it. */
function publisher(folder: string): Door['publishKeys'] {
  return (user, publicKeys) => {
    if (!existsSync(folder)) return; // it has stopped before the region
    const file = join(folder, user);
    writeFileSync(`${file}~`, publicKeys.map((line) => `${line}\n`).join(''));
    renameSync(`${file}~`, file);
  };
}

/** Resolves when it listens on all its ports, or with its complaints when it ended before. */
async function listen(folder: string, ports: number): Promise<{ child: ChildProcess; complaints?: string[] }> {
  const command = [opensshPath, '-D', '-e', '-f', join(folder, 'sshd_config')];
  // In a session of its own: a signal to our process group must not end the keeper before its work is done.
  const child = spawn('/bin/sh', [keeper, folder, ...command], { stdio: ['pipe', 'ignore', 'pipe'], detached: true });
  child.stdin!.on('error', () => {});
  const lines: string[] = [];
  let listening = 0;
  const complaints = await new Promise<string[] | undefined>((resolve) => {
    child.once('error', (error) => lines.push(error.message));
    createInterface(child.stderr!)
      .on('line', (line) => {
        if (lines.length < 100) lines.push(line);
        if (line.startsWith('Server listening on ')) listening += 1;
        if (listening === ports) resolve(undefined);
      })
      .once('close', () => resolve(lines));
  });
  return complaints === undefined ? { child } : { child, complaints };
}

/** Connections and their commands are processes in sessions of their own; the keeper ends each. */
async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.stdin!.end();
  await exited;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  await Promise.all(servers.map((server) => once(server, 'close')));
  return ports;
}

function configuration(folder: string, request: SshdRequest, ports: number[], hostKeys: number): string {
  const lines = [
    ...ports.map((port) => `ListenAddress 127.0.0.1:${port}`),
    ...Array.from({ length: hostKeys }, (_, at) => `HostKey ${folder}/host_${at}`),
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    'PidFile none',
    'StrictModes no', // The folder is under /tmp.
    `AllowUsers ${request.user}`,
    'PermitRootLogin prohibit-password',
    'PubkeyAuthentication yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UseDNS no',
    'PrintMotd no',
    'PrintLastLog no',
    'PermitUserRC no',
    // An instance's login shell starts bare; that of whoever runs this may load more than the connection takes.
    `SetEnv HOME=${folder}`,
    'Subsystem sftp internal-sftp',
    'MaxStartups 1000',
    'MaxSessions 100',
    'LogLevel INFO',
  ];
  if (request.kexAlgorithms !== undefined) lines.push(`KexAlgorithms ${request.kexAlgorithms}`);
  // All connections come from one address; since 9.8 sshd would shut it out after a few failures.
  if (version() >= 9.08) lines.push('PerSourcePenalties no');
  // sshd checks owner and mode of the command and the folders above it: the shell's are right, ours are under /tmp.
  // It tells the command no port before 9.4, so the port chooses the command.
  const { username } = userInfo();
  ports.forEach((port, at) => {
    lines.push(
      `Match LocalPort ${port}`,
      `  AuthorizedKeysFile ${folder}/authorized_keys ${nodeFolder(folder, request, at)}/home/%u/.ssh/authorized_keys`,
      `  AuthorizedKeysCommand /bin/sh "${pushedKeys}" "${keysFolder(folder, request, at)}" %u`,
      `  AuthorizedKeysCommandUser ${username}`,
    );
  });
  return `${lines.join('\n')}\n`;
}

/** As a number that compares, 9.8 being 9.08; 0 if sshd does not say. */
function version(): number {
  const { stdout, stderr } = spawnSync(opensshPath, ['-V'], { encoding: 'utf8' });
  const match = /OpenSSH_(\d+)\.(\d+)/.exec(stdout + stderr);
  return match === null ? 0 : Number(match[1]) + Number(match[2]) / 100;
}
