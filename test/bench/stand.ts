// What the benchmark stands on: one sshd, a copy of dist that nobody rebuilds meanwhile, a folder for homes, and networks:
// a simulated region near by, or one that every leg reaches over a long way.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { generateKeyPair } from '../region/sshd/key-pair.ts';
import { type Sshd, startSshd } from '../region/sshd/sshd.ts';
import { makeTemporaryFolder, removeFolder } from '../region/temporary.ts';
import { type Address, FarLink } from './far-link.ts';
import type { RegionAnswer, RegionRequest } from './region-process.ts';

const top = resolve(import.meta.dirname, '../..');
export const instanceId = 'i-0123456789abcdef0';
/** AWS's quota of 3 a second would be measured instead of the client. */
export const startsPerSecond = 1_000;

export interface Stand {
  readonly sshd: Sshd;
  /** The program under test. */
  readonly keyhole: string;
  readonly folder: string;
  readonly identityFile: string;
  readonly knownHosts: string;
  /** A new, empty, short path. */
  makeHome(): string;
  openNetwork(options?: { tls?: boolean; far?: boolean }): Promise<Network>;
  close(): Promise<void>;
}

export interface Network {
  /** For AWS's tools. */
  readonly env: Record<string, string>;
  /** Where ssh without any ProxyCommand connects to. */
  readonly sshd: Address;
  /** The long way's, to the APIs, the gateway and sshd; none where all is near. */
  readonly links: readonly FarLink[];
  setFaults(faults: NonNullable<RegionRequest['faults']>): Promise<void>;
  /** How long the region had the last StartSession. */
  startSessionMs(): Promise<number | undefined>;
  close(): Promise<void>;
}

export async function openStand(): Promise<Stand> {
  const folder = makeTemporaryFolder('bench');
  // With its Node where the launcher of a checkout finds it.
  cpSync(join(top, 'dist'), join(folder, 'dist'), { recursive: true });
  symlinkSync(join(top, 'node_modules'), join(folder, 'node_modules'));
  const key = generateKeyPair();
  const sshd = await startSshd({ authorizedKeys: [key.public], instances: [instanceId] });
  const identityFile = join(folder, 'identity');
  const knownHosts = join(folder, 'known_hosts');
  writeFileSync(identityFile, key.private, { mode: 0o600 });
  writeFileSync(knownHosts, sshd.hostKeys.map((hostKey) => `${instanceId} ${hostKey}\n`).join(''));
  const networks: Network[] = [];
  let homes = 0;
  return {
    sshd,
    keyhole: join(folder, 'dist', 'keyhole'),
    folder,
    identityFile,
    knownHosts,
    makeHome() {
      const home = join(folder, `h${++homes}`);
      mkdirSync(home);
      return home;
    },
    async openNetwork(options = {}) {
      const network = await openNetwork(sshd, options);
      networks.push(network);
      return network;
    },
    async close() {
      await Promise.all(networks.map((network) => network.close()));
      await sshd.stop();
      removeFolder(folder);
    },
  };
}

async function openNetwork(sshd: Sshd, { tls = false, far = false }): Promise<Network> {
  // AWS's API and gateway are two hosts; over one, a client could upgrade the connection on which it called the API.
  const links = far ? await Promise.all([FarLink.listen(), FarLink.listen(), FarLink.listen()]) : [];
  const [toApi, toGateway, toSshd] = links;
  const region = fork(join(import.meta.dirname, 'region-process.ts'), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--max-semi-space-size=1', '--no-incremental-marking'], // so that its own garbage is not what is measured
  });
  const { endpoint, env } = await ask(region, {
    start: {
      tls,
      // publishKeys is a function, which no channel carries: logins are by the stand's own key.
      nodes: [{ instanceId, ports: { 22: { host: sshd.host, port: sshd.port } } }],
      endpoints: [{ endpointId: 'eice-0123456789abcdef0', maxConnections: 1_000 }],
      quotas: { StartSession: startsPerSecond, TerminateSession: startsPerSecond, SendSSHPublicKey: startsPerSecond },
      // Plugins before 1.2.764.0 are to be measured too.
      gateway: { requireSignature: false, minimumClientVersion: '0.0.0.0' },
      ...(toGateway && { streamAuthority: authority(toGateway.address) }),
    },
  });
  for (const link of [toApi, toGateway]) {
    if (link) link.target = { host: '127.0.0.1', port: Number(new URL(endpoint).port) };
  }
  if (toSshd) toSshd.target = sshd;
  return {
    env: toApi ? moved(env, new URL(endpoint).host, authority(toApi.address)) : env,
    sshd: toSshd?.address ?? sshd,
    links,
    async setFaults(faults) {
      await ask(region, { faults });
    },
    async startSessionMs() {
      return (await ask(region, {})).startSessionMs;
    },
    async close() {
      const exited = region.exitCode === null && region.signalCode === null ? once(region, 'exit') : undefined;
      if (region.connected) region.disconnect();
      await exited;
      await Promise.all(links.map((link) => link.close()));
    },
  };
}

async function ask(region: ChildProcess, request: RegionRequest): Promise<RegionAnswer> {
  const over = new AbortController();
  const answer = once(region, 'message', over);
  const ended = once(region, 'exit', over).then(() => Promise.reject(new Error('the region has ended')));
  for (const each of [answer, ended]) each.catch(() => {});
  region.send(request);
  try {
    return (await Promise.race([answer, ended]))[0];
  } finally {
    over.abort();
  }
}

function moved(env: Record<string, string>, from: string, to: string): Record<string, string> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replace(`//${from}`, `//${to}`)]));
}

function authority({ host, port }: Address): string {
  return `${host}:${port}`;
}
