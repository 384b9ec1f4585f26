// What must hold of one host: that it exists and runs, that Systems Manager or an endpoint leads to it, and that sshd
// answers behind the tunnel. Asks what AWS lets be asked, opens one tunnel as ssh would, and ends it again.
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { AwsContext } from '../aws/context.ts';
import type { Instance } from '../aws/ec2.ts';
import type { ManagedNode } from '../aws/nodes.ts';
import type { Clock } from '../clock.ts';
import { objection, type Route } from '../eice/endpoint.ts';
import { findRoute } from '../eice/route.ts';
import { AwsError, KeyholeError } from '../errors.ts';
import { knownHostsName } from '../hostkeys/known-hosts.ts';
import type { Log } from '../log.ts';
import { NetworkWatch } from '../network-watch.ts';
import { printable } from '../printable.ts';
import type { PayloadMemory } from '../ssm/transport-options.ts';
import type { Call } from '../target/call.ts';
import { InstanceNames } from '../target/names.ts';
import { TunnelChoice } from '../tunnel/choice.ts';
import { awaitFirstByte } from '../tunnel/first-byte.ts';
import { openTunnel } from '../tunnel/open.ts';
import { type Finding, fail, failed, none, pass, unknown, warn } from './finding.ts';

export interface NodeOptions {
  call: Call;
  aws: AwsContext;
  payloadMemory: PayloadMemory;
  knownHostsFile: string | undefined;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

interface Facts {
  instance: PromiseSettledResult<Instance>;
  node: PromiseSettledResult<ManagedNode | undefined>;
  connection: PromiseSettledResult<'connected' | 'notconnected'>;
  route: PromiseSettledResult<Route>;
  tunnel: PromiseSettledResult<{ kind: 'ssm' | 'eice'; banner: string }>;
}

/** Port sessions need it (Session Manager, "Setting up", step 1). */
const oldestAgent = '2.3.672.0';
/** RFC 4253, section 4.2: nothing longer is an identification line, but others may come before it. */
const maxBannerBytes = 8_192;

export async function* checkNode(options: NodeOptions): AsyncGenerator<Finding> {
  const { call, aws, signal } = options;
  let target: string;
  try {
    target = await new InstanceNames(options.clock).idOf(call, aws, signal);
  } catch (error) {
    yield failed('host', error);
    return;
  }
  yield pass('host', target === call.host.name ? target : `${call.host.name} is ${target}`);
  const facts = await findOut(target, options);
  const isIn = facts.tunnel.status === 'fulfilled';
  // What is not as it should be stands in nobody's way where a tunnel opens all the same.
  const soften = (finding: Finding): Finding =>
    isIn && finding.status === 'fail' ? { ...finding, status: 'warn' } : finding;
  yield soften(checkInstance(target, facts));
  for (const finding of checkRegistration(target, facts, options)) yield soften(finding);
  yield soften(checkRoute(target, facts, options));
  yield* checkTunnel(facts, options);
  yield checkPush(target, options);
  yield checkHostKeys(options);
}

async function findOut(target: string, options: NodeOptions): Promise<Facts> {
  const { aws, call, signal } = options;
  const { eiceEndpointId: endpointId, eiceEndpoint: endpointAuthority } = call.settings;
  const isInstance = target.startsWith('i-');
  const [instance, node, connection, route, tunnel] = await Promise.allSettled([
    isInstance ? aws.ec2.describeInstance(target) : Promise.reject(objection(target, 22)),
    aws.nodes.describeNode(target, signal),
    aws.ssm.getConnectionStatus(target, signal),
    isInstance
      ? findRoute(target, { ec2: aws.ec2, fips: aws.fips, endpointId, endpointAuthority })
      : Promise.reject(objection(target, 22)),
    knock(target, options),
  ]);
  signal.throwIfAborted();
  return { instance, node, connection, route, tunnel };
}

/** As ssh would: opens a tunnel, hears who answers, and closes it. */
async function knock(target: string, options: NodeOptions): Promise<{ kind: 'ssm' | 'eice'; banner: string }> {
  const { call, aws, payloadMemory, clock, log } = options;
  const { port, settings, host } = call;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(settings.deadlineMs)]);
  const choice = new TunnelChoice<Route>(clock, log);
  const networkWatch = new NetworkWatch(clock);
  const parts = { aws, settings, choice, payloadMemory, networkWatch, clock, log };
  const transport = await openTunnel({ ...parts, target, port, signal });
  transport.on('error', () => {}); // what matters has been heard by then
  await awaitFirstByte(transport, { host: host.name, port, timeoutMs: settings.firstByteTimeoutMs, clock, signal });
  let banner = '';
  for await (const chunk of transport.iterator({ destroyOnReturn: false })) {
    banner += (chunk as Buffer).toString('latin1');
    if (/^SSH-[^\n]*\n/m.test(banner) || banner.length > maxBannerBytes) break;
  }
  const { kind } = transport;
  transport.destroy();
  if (!transport.closed) await once(transport, 'close');
  return { kind, banner };
}

function checkInstance(target: string, { instance }: Facts): Finding {
  if (!target.startsWith('i-')) return none('instance', `${target} is a node outside of EC2`);
  if (instance.status === 'rejected') {
    return isDenied(instance.reason) ? unknown('instance', instance.reason) : failed('instance', instance.reason);
  }
  const { state } = instance.value;
  if (state === 'running') return pass('instance', 'it is running');
  const remedy =
    state === 'stopped' ? `aws ec2 start-instances --instance-ids ${target}, or start = true` : 'wait for it';
  return fail('instance', `it is ${state}`, remedy);
}

function* checkRegistration(target: string, { node, connection }: Facts, { call }: NodeOptions): Generator<Finding> {
  const isHybrid = target.startsWith('mi-');
  if (call.settings.transport === 'eice') {
    yield none('ssm-node', 'the setting transport is eice');
    return;
  }
  if (node.status === 'rejected') {
    yield unknown('ssm-node', node.reason);
  } else if (node.value === undefined) {
    const remedy = isHybrid
      ? 'register it again with a hybrid activation; sessions to it need the advanced-instances tier'
      : 'give it a role with AmazonSSMManagedInstanceCore (or Default Host Management Configuration), a way to the SSM endpoints, and the agent';
    yield fail('ssm-node', `Systems Manager does not know ${target} in this region and account`, remedy);
    return;
  } else {
    yield pass('ssm-node', [node.value.system, node.value.name].filter(Boolean).map(String).map(printable).join(', '));
  }
  yield checkConnection(target, node, connection);
  if (node.status === 'rejected') return;
  const version = node.value?.agentVersion;
  if (version === undefined) yield none('ssm-agent', 'its version is not known');
  else if (isOlderAgent(version)) {
    yield fail(
      'ssm-agent',
      `the agent has version ${version}`,
      `update it to at least ${oldestAgent} (AWS-UpdateSSMAgent)`,
    );
  } else yield pass('ssm-agent', `version ${version}`);
}

function checkConnection(target: string, node: Facts['node'], connection: Facts['connection']): Finding {
  const remedy = 'is the agent running there, with a way out to ssmmessages (port 443), and the machine up?';
  if (connection.status === 'fulfilled') {
    return connection.value === 'connected'
      ? pass('ssm-connection', 'the agent is connected')
      : fail('ssm-connection', `the agent of ${target} is not connected`, remedy);
  }
  if (node.status === 'fulfilled' && node.value !== undefined && node.value.pingStatus !== 'Online') {
    return fail('ssm-connection', `the agent of ${target} is not connected (${node.value.pingStatus})`, remedy);
  }
  return unknown('ssm-connection', connection.reason);
}

function isOlderAgent(version: string): boolean {
  const [found, oldest] = [version, oldestAgent].map((text) => text.split('.').map(Number));
  const at = oldest!.findIndex((part, index) => (found![index] || 0) !== part);
  return at >= 0 && (found![at] || 0) < oldest![at]!;
}

function checkRoute(target: string, { route, connection }: Facts, { call }: NodeOptions): Finding {
  const isWanted = call.settings.transport === 'eice';
  const reason = objection(target, call.port);
  if (call.settings.transport === 'ssm') return none('eice', 'the setting transport is ssm');
  if (reason !== undefined && !isWanted) return none('eice', reason.message);
  if (route.status === 'fulfilled') return pass('eice', `endpoint ${route.value.endpointId}`);
  if (isDenied(route.reason)) return unknown('eice', route.reason);
  if (isWanted) return failed('eice', route.reason);
  const isNeeded = connection.status !== 'fulfilled' || connection.value !== 'connected';
  if (isNeeded) return failed('eice', route.reason);
  return none('eice', (route.reason as Error).message);
}

function* checkTunnel({ tunnel }: Facts, { call }: NodeOptions): Generator<Finding> {
  if (tunnel.status === 'rejected') {
    const answers = tunnel.reason instanceof KeyholeError && tunnel.reason.code === 'no-answer';
    if (answers) {
      yield pass('tunnel', 'it opens');
      yield failed('sshd', tunnel.reason);
    } else yield failed('tunnel', toKeyhole(tunnel.reason, call));
    return;
  }
  const { kind, banner } = tunnel.value;
  yield pass('tunnel', kind === 'ssm' ? 'through Systems Manager' : 'through an EC2 Instance Connect Endpoint');
  const line = /^SSH-.*$/m.exec(banner)?.[0];
  yield line === undefined
    ? fail('sshd', `what answers on port ${call.port} is no SSH server`, 'is it the right port? (the setting port)')
    : pass('sshd', printable(line.trim()));
}

/** The bound of the whole is AbortSignal's own error. */
function toKeyhole(reason: unknown, { host, settings }: Call): KeyholeError {
  if (reason instanceof KeyholeError) return reason;
  return new KeyholeError('deadline', `no tunnel to ${host.name} within ${settings.deadlineMs / 1000} s`, {
    hint: 'the setting deadline allows more',
  });
}

function checkPush(target: string, { call }: NodeOptions): Finding {
  const { push } = call.settings;
  if (push === 'off') return none('push', 'the setting push is off: a key of yours must be there already');
  if (push === 'instance-connect' && !target.startsWith('i-')) {
    return warn(
      'push',
      'EC2 Instance Connect reaches no hybrid node, so that only keys of your own are used',
      'set push = "ssm-document:NAME" for it; keyhole policy --push-document prints the document',
    );
  }
  return none('push', `a key is pushed when ssh asks for one (${push}); nothing is changed to find out`);
}

function checkHostKeys({ call, knownHostsFile }: NodeOptions): Finding {
  const { hostKeys } = call.settings;
  if (hostKeys === 'off') return none('host-keys', 'the setting host_keys is off: ssh asks, or takes what it finds');
  const name = knownHostsName(call.host.name, call.namedPort);
  const isKnown =
    knownHostsFile !== undefined &&
    existsSync(knownHostsFile) &&
    readFileSync(knownHostsFile, 'utf8')
      .split('\n')
      .some((line) => line.split(' ')[0]?.split(',').includes(name));
  return isKnown
    ? pass('host-keys', `${knownHostsFile} has keys that AWS vouched for`)
    : none('host-keys', `the first connection writes them (${hostKeys})`);
}

/** The permission is one that connections do without. */
function isDenied(error: unknown): boolean {
  return error instanceof AwsError && error.code.startsWith('access-denied');
}
