// A daemon in this process, without a listener: sockets are given to it, the region is simulated, AWS settings are
// answered by the test. What a tunnel does at each step is seen from outside: frames, sessions, failures.

import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Keyring } from '../../src/agent/keyring.ts';
import { AwsContexts } from '../../src/aws/contexts.ts';
import { serializeResolution } from '../../src/aws/resolution.ts';
import { systemClock } from '../../src/clock.ts';
import { type Frame, FrameType } from '../../src/control/frame.ts';
import { ControlLink } from '../../src/control/link.ts';
import { type OpenRequest, protocolVersion } from '../../src/control/message.ts';
import { AgentSockets } from '../../src/daemon/agent-sockets.ts';
import { ForwardList } from '../../src/daemon/forward-list.ts';
import type { DaemonParts } from '../../src/daemon/parts.ts';
import { Service } from '../../src/daemon/service.ts';
import { SessionLedger } from '../../src/daemon/session-ledger.ts';
import type { KeyholeError } from '../../src/errors.ts';
import { HostKeys } from '../../src/hostkeys/host-keys.ts';
import { KeyPush } from '../../src/keypush/key-push.ts';
import { silent } from '../../src/log.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import { InstanceNames } from '../../src/target/names.ts';
import { TunnelChoice } from '../../src/tunnel/choice.ts';
import { payloadMemory } from '../../src/tunnel/payload-memory.ts';
import type { RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { shortFolder, socketPairs } from '../unix-sockets.ts';

export const instanceId = 'i-0123456789abcdef0';

export interface Stage {
  region: Region;
  service: Service;
  parts: DaemonParts;
  ledger: SessionLedger;
  failures: { host: string; code: string }[];
  /** Of connections that have ended. */
  idle(): number;
  folder: string;
  /** The daemon that comes after this one. */
  successor(): Service;
  /** A helper that has said hello. */
  connect(): Promise<ControlLink>;
  request(more?: Partial<OpenRequest>): OpenRequest;
  /** Answer to a `resolve` frame. */
  resolved: object;
}

/** A target that greets, echoes, and closes after `bye`. */
async function startTarget(t: Test): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.write('SSH-2.0-target\r\n');
    socket.on('data', (chunk) => {
      if (chunk.includes('bye')) socket.end('gone');
      else socket.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

export async function setStage(t: Test, options: RegionOptions = {}): Promise<Stage> {
  const region = await startRegion({
    nodes: [{ instanceId, ports: { 22: await startTarget(t) } }],
    quotas: { StartSession: 1_000, TerminateSession: 1_000 },
    ...options,
  });
  t.teardown(() => region.stop());
  const folder = shortFolder(t);
  const sshDir = join(folder, 'k');
  mkdirSync(sshDir, { mode: 0o700 });
  const [clock, log] = [systemClock, silent];
  const aws = new AwsContexts({
    clock,
    log,
    startSessionsPerSecond: 1_000,
    resolve: async () => resolved,
    onOpened() {},
  });
  const keyring = new Keyring({ clock, lifetimeMs: 3_600_000 });
  const keyPush = new KeyPush(clock, log);
  const agents = await AgentSockets.open({ sshDir, upstream: undefined, keyring, keyPush, clock, log, general: true });
  t.teardown(async () => {
    keyPush.close();
    aws.close();
    await agents.stop();
  });
  const ledger = new SessionLedger(join(folder, 'state'));
  const forwardsFile = join(folder, 'forwards.json');
  const forwardList = new ForwardList(forwardsFile);
  const failures: Stage['failures'] = [];
  let idle = 0;
  const parts: DaemonParts = {
    clock,
    log,
    aws,
    keyring,
    keyPush,
    hostKeys: new HostKeys(clock, log, join(sshDir, 'known_hosts')),
    agents,
    ledger,
    forwardList,
    names: new InstanceNames(clock),
    choice: new TunnelChoice(clock, log),
    networkWatch: new NetworkWatch(clock),
    payloadMemory: payloadMemory(undefined, clock.wallTime),
    resolveAws: async () => resolved,
    recordFailure: ({ host }, { code }: KeyholeError) => failures.push({ host, code }),
  };
  const ends = {
    onRetire() {},
    onIdle: () => {
      idle += 1;
    },
    leftSessions: () => [],
  };
  const service = new Service({ parts, ...ends });
  const resolved = serializeResolution({
    profile: 'default',
    region: region.region,
    credentials: {
      accessKeyId: region.env.AWS_ACCESS_KEY_ID!,
      secretAccessKey: region.env.AWS_SECRET_ACCESS_KEY!,
    },
    credentialSource: undefined,
    asksProgram: false,
    endpoints: { ssm: region.endpoint, ec2_instance_connect: region.endpoint },
    fips: false,
    dualstack: false,
    caBundle: undefined,
    extraCa: undefined,
    proxy: { https: undefined, no: undefined },
  });
  const pairs = await socketPairs(t);
  return {
    region,
    service,
    parts,
    ledger,
    failures,
    idle: () => idle,
    folder: sshDir,
    resolved,
    successor: () => new Service({ parts: { ...parts, forwardList: new ForwardList(forwardsFile) }, ...ends }),
    async connect() {
      const { client, server } = await pairs();
      void service.accept(server);
      const link = new ControlLink(client);
      link.send(FrameType.hello, { protocol: protocolVersion, version: '0.0.0', pid: process.pid });
      await link.receive();
      return link;
    },
    request: (more = {}) => ({
      host: instanceId,
      port: '22',
      handover: 'fd',
      flags: {},
      caller: { env: { HOME: folder }, cwd: '/', pid: process.pid, parentPid: process.ppid },
      ...more,
    }),
  };
}

/** Frames until one of that type, which is the last; `resolve` is answered on the way. */
export async function conversation(stage: Stage, link: ControlLink, until: FrameType): Promise<Frame[]> {
  const frames: Frame[] = [];
  for (;;) {
    const frame = await link.receive();
    frames.push(frame);
    if (frame.type === until) return frames;
    if (frame.type === FrameType.resolve) link.send(FrameType.resolved, stage.resolved);
    else if (frame.type === FrameType.error) throw new Error(`error: ${JSON.stringify(frame.body)}`);
  }
}

export async function until(what: string, condition: () => boolean, withinMs = 10_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function openSessions(region: Region): number {
  return region.sessions.filter(({ active }) => active).length;
}

/** Everything that comes from now on. */
export function collect(socket: Socket): () => string {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  socket.resume();
  return () => text;
}
