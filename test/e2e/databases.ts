// PostgreSQL and Redis servers of this machine's packages, on loopback, with their files in a folder that goes with the test.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { until } from './fixture.ts';

export interface Server {
  host: '127.0.0.1';
  port: number;
}

/** Where Debian has PostgreSQL's programs; undefined where it is not installed. */
export function postgresPrograms(): string | undefined {
  const top = '/usr/lib/postgresql';
  if (!existsSync(top)) return undefined;
  const folders = readdirSync(top).map((version) => join(top, version, 'bin'));
  return folders.findLast((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'pgbench')));
}

export function hasRedis(): boolean {
  return ['redis-server', 'redis-benchmark'].every((name) => existsSync(join('/usr/bin', name)));
}

/** A new cluster with the user and database `postgres`, and no password. */
export async function startPostgres(t: Test, programs: string): Promise<Server> {
  const folder = temporaryFolder(t);
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? accountOf('postgres') : undefined; // the server refuses to run as root
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = join(folder, 'data');
  execFileSync(join(programs, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync'], {
    ...user,
    stdio: 'ignore',
    cwd: folder,
  });
  const port = await freePort();
  const options = ['-D', data, '-p', String(port), '-k', folder, '-h', '127.0.0.1', '-F', '-c', 'max_connections=120'];
  const child = spawn(join(programs, 'postgres'), options, { ...user, stdio: 'ignore', cwd: folder });
  t.teardown(async () => {
    child.kill('SIGQUIT');
    if (child.exitCode === null) await once(child, 'exit');
  });
  await until('PostgreSQL answers', () => answers(port), 30_000);
  return { host: '127.0.0.1', port };
}

export async function startRedis(t: Test): Promise<Server> {
  const port = await freePort();
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', temporaryFolder(t)];
  const child = spawn('redis-server', options, { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await until('Redis answers', () => answers(port), 30_000);
  return { host: '127.0.0.1', port };
}

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'kh-db-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function accountOf(name: string): { uid: number; gid: number } {
  const id = (kind: string) => Number(execFileSync('id', [kind, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
