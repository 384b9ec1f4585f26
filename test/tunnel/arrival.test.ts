import { Duplex } from 'node:stream';
import t from 'tap';
import type { Instance } from '../../src/aws/ec2.ts';
import type { SsmApi } from '../../src/aws/ssm-api.ts';
import { AwsError, KeyholeError, TransportError } from '../../src/errors.ts';
import { silent } from '../../src/log.ts';
import { openOnArrival } from '../../src/tunnel/arrival.ts';
import type { Transport } from '../../src/tunnel/transport.ts';
import { ManualClock } from '../manual-clock.ts';
import { FakeEc2, instance } from './aws.ts';

const id = 'i-0123456789abcdef0';
const failure = (code: string) => new TransportError(code, `it is ${code}`, { hint: 'look' });
const denied = new AwsError('access-denied', 'denied', { service: 'x', apiCode: 'AccessDenied' });
const tunnel = new Duplex() as unknown as Transport;

interface Scene {
  target?: string;
  transport?: 'auto' | 'ssm' | 'eice';
  waitMs?: number;
  start?: boolean;
  /** What an attempt at this time (s) comes to: a code, or undefined for a tunnel. */
  attempt(atS: number): string | undefined;
  /** Whether SSM has the node then; `denied` says nothing. */
  connected?: (atS: number) => boolean | 'denied';
  instance?: Partial<Instance> | Error;
  /** What EC2 says at this time. */
  state?: (atS: number, isStarted: boolean) => string;
}

/** What came of it, and when (s), with all that was done on the way, each with its time. */
async function play(scene: Scene) {
  const clock = new ManualClock();
  const steps: string[] = [];
  const second = () => clock.now() / 1000;
  const step = (what: string) => steps.push(`${second()} ${what}`);
  const about = scene.instance instanceof Error ? scene.instance : instance(id, scene.instance);
  const ec2 = new FakeEc2(about);
  let isStarted = false;
  ec2.describeInstance = async () => {
    step('describe');
    if (about instanceof Error) throw about;
    return scene.state ? { ...about, state: scene.state(second(), isStarted) } : about;
  };
  ec2.startInstance = async () => {
    step('start');
    isStarted = true;
  };
  const getConnectionStatus = async () => {
    const answer = scene.connected?.(second()) ?? false;
    if (answer === 'denied') throw denied;
    step(answer ? 'connected' : 'not connected');
    return answer ? 'connected' : 'notconnected';
  };
  const stop = new AbortController();
  const result = openOnArrival({
    target: scene.target ?? id,
    aws: { ec2, ssm: { getConnectionStatus } as unknown as SsmApi, awsTime: () => clock.wallTime() },
    settings: {
      transport: scene.transport ?? 'auto',
      waitMs: scene.waitMs ?? 10_000,
      start: scene.start ?? false,
      startTimeoutMs: 60_000,
    },
    clock,
    log: silent,
    signal: stop.signal,
    async open() {
      const code = scene.attempt(second());
      step(`attempt: ${code ?? 'open'}`);
      if (code !== undefined) throw failure(code);
      return tunnel;
    },
    onStart: (text, withinMs) => step(`${text} (${withinMs / 1000})`),
  }).then(
    (opened) => ({ opened, error: undefined, atS: second() }),
    (error: KeyholeError) => ({ opened: undefined, error, atS: second() }),
  );
  let isOver = false;
  void result.finally(() => {
    isOver = true;
  });
  for (let n = 0; n < 300 && !isOver; n++) await clock.advance(500);
  stop.abort(new KeyholeError('interrupted', 'the test is over'));
  t.equal(clock.pending, 0, 'no timer is left');
  return { ...(await result), steps };
}

t.test('a target that is there pays nothing', async (t) => {
  const { opened, steps } = await play({ attempt: () => undefined });
  t.equal(opened, tunnel);
  t.strictSame(steps, ['0 attempt: open']);
});

t.test('a node that comes online is got into', async (t) => {
  for (const [target, transport] of [
    [id, 'auto'],
    [id, 'ssm'],
    ['mi-0123456789abcdef0', 'auto'],
  ] as const) {
    const { opened, steps, atS } = await play({
      target,
      transport,
      attempt: (now) => (now < 8 ? 'target-not-connected' : undefined),
      connected: (now) => now >= 8,
    });
    t.equal(opened, tunnel);
    t.equal(atS, 8);
    t.equal(steps.filter((step) => step.includes('attempt')).length, 2, 'it is polled, not tried');
    t.equal(steps.filter((step) => step.includes('describe')).length, target === id ? 1 : 0);
  }
});

t.test('one that flaps is tried again', async (t) => {
  const { opened, steps } = await play({
    attempt: (now) => (now < 5 ? 'target-not-connected' : undefined),
    connected: (now) => now % 2 === 0,
  });
  t.equal(opened, tunnel);
  t.equal(steps.filter((step) => step.endsWith(' attempt: target-not-connected')).length, 3);
});

t.test('one that never comes is an error at the bound, with what to check', async (t) => {
  const { error, atS, steps } = await play({ attempt: () => 'target-not-connected', waitMs: 5_000 });
  t.match(error, { code: 'target-not-connected', message: 'it is target-not-connected, also after 5s', hint: 'look' });
  t.equal(atS, 5);
  t.equal(steps.filter((step) => step.includes('attempt')).length, 1);
});

t.test('where the status is not told, StartSession is asked now and then', async (t) => {
  const { opened, steps } = await play({
    attempt: (now) => (now < 5 ? 'target-not-connected' : undefined),
    connected: () => 'denied',
  });
  t.equal(opened, tunnel);
  t.strictSame(steps, [
    '0 attempt: target-not-connected',
    '0 describe',
    ...['2', '4'].map((at) => `${at} attempt: target-not-connected`),
    '6 attempt: open',
  ]);
});

t.test('what time does not change is not waited for', async (t) => {
  for (const code of ['access-denied-target', 'port-closed', 'no-answer', 'eice-quota', 'credentials-expired']) {
    const { error, steps } = await play({ attempt: () => code });
    t.equal(error?.code, code);
    t.strictSame(steps, [`0 attempt: ${code}`], code);
  }
  const nowhere = failure('instance-unknown');
  t.match(await play({ attempt: () => 'target-not-connected', instance: nowhere }), {
    error: { message: 'it is target-not-connected' },
    atS: 0,
  });
  for (const state of ['stopped', 'stopping', 'terminated', 'shutting-down']) {
    const { error, atS } = await play({ attempt: () => 'target-not-connected', instance: { state } });
    t.match(error, { code: 'instance-stopped', message: `${id} is ${state}` });
    t.equal(atS, 0);
  }
  const { steps } = await play({ attempt: () => 'target-not-connected', waitMs: 0 });
  t.strictSame(steps, ['0 attempt: target-not-connected'], 'nor where nobody wants to wait');
});

t.test('an endpoint that does not reach the target is tried again where SSM has not got it either', async (t) => {
  const attempt = (now: number) => (now < 3 ? 'eice-target' : undefined);
  const { opened, steps } = await play({ attempt });
  t.equal(opened, tunnel);
  t.strictSame(
    steps.filter((step) => step.includes('attempt')),
    ['0 attempt: eice-target', '2 attempt: eice-target', '4 attempt: open'],
  );
  for (const connected of [true, 'denied'] as const) {
    t.match(await play({ attempt, connected: () => connected }), { error: { code: 'eice-target' }, atS: 0 });
  }
});

t.test('an instance that starts by itself is waited for, its sshd too', async (t) => {
  const codes = ['instance-pending', 'eice-target', 'port-closed', 'no-answer'];
  const { opened } = await play({
    transport: 'eice',
    instance: { state: 'pending' },
    attempt: (now) => codes[now / 2],
  });
  t.equal(opened, tunnel);
});

t.test('start = true: a stopped instance is started, told about, and got into', async (t) => {
  const { opened, steps } = await play({
    start: true,
    state: (now) => (now < 1 ? 'stopped' : now < 7 ? 'pending' : 'running'),
    attempt: (now) => (now === 0 ? 'instance-stopped' : now < 20 ? 'target-not-connected' : undefined),
    connected: (now) => now >= 20,
  });
  t.equal(opened, tunnel);
  t.strictSame(steps.slice(0, 5), [
    '0 attempt: instance-stopped',
    '0 describe',
    `0 ${id} is stopped; starting it (60)`,
    '0 describe',
    '0 start',
  ]);
  t.strictSame(
    steps.filter((step) => step.includes('running')),
    [`8 ${id} is running; waiting until it can be reached (52)`],
  );
  t.equal(steps.filter((step) => / start$/.test(step)).length, 1);
});

t.test('start = true: one that stops is let stop first; one that was just started is only waited for', async (t) => {
  const stopping = await play({
    start: true,
    state: (now, isStarted) => (isStarted ? 'running' : now < 5 ? 'stopping' : 'stopped'),
    attempt: (now) => (now < 30 ? 'instance-stopped' : undefined),
    connected: (now) => now >= 30,
  });
  t.equal(stopping.opened, tunnel);
  t.ok(stopping.steps.includes('6 start'), 'which EC2 would refuse before');

  const young = await play({
    start: true,
    instance: { launchedAt: Date.UTC(2026, 0, 2, 3, 4, 0) },
    attempt: (now) => (now < 30 ? 'target-not-connected' : undefined),
    connected: (now) => now >= 30,
  });
  t.equal(young.opened, tunnel, 'longer than wait');
  t.equal(young.steps.filter((step) => / start$/.test(step)).length, 0);
  const old = await play({ start: true, attempt: () => 'target-not-connected' });
  t.match(old, { error: { code: 'target-not-connected' }, atS: 10 });
});

t.test('start = true: what goes wrong is said', async (t) => {
  const scene = { start: true, attempt: () => 'instance-stopped' };
  t.match(
    await play({ ...scene, state: (now, isStarted) => (!isStarted ? 'stopped' : now < 4 ? 'pending' : 'terminated') }),
    {
      error: { code: 'instance-stopped', message: `${id} was started, and is terminated again` },
    },
  );
  t.match(await play({ ...scene, state: (_, isStarted) => (isStarted ? 'pending' : 'stopped') }), {
    error: { code: 'instance-pending', message: `${id} is still pending after 1m`, hint: /start_timeout/ },
    atS: 60,
  });
  t.match(await play({ ...scene, instance: denied, attempt: () => 'target-not-connected' }), {
    error: { code: 'access-denied' },
    atS: 0,
  });
  t.match(
    await play({
      ...scene,
      state: (_, isStarted) => (isStarted ? 'running' : 'stopped'),
      attempt: (now) => (now < 50 ? 'instance-stopped' : 'port-closed'),
    }),
    {
      error: { code: 'port-closed', message: /, also after 1m$/ },
    },
  );
});

t.test('who goes while waiting is not waited for', async (t) => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const waiting = openOnArrival({
    target: 'mi-0123456789abcdef0',
    aws: {
      ec2: new FakeEc2(instance(id)),
      ssm: { getConnectionStatus: async () => 'notconnected' } as unknown as SsmApi,
      awsTime: () => clock.wallTime(),
    },
    settings: { transport: 'auto', waitMs: 10_000, start: false, startTimeoutMs: 60_000 },
    clock,
    log: silent,
    signal: stop.signal,
    open: async () => {
      throw failure('target-not-connected');
    },
    onStart() {},
  });
  const reason = new TransportError('deadline', 'over');
  const rejected = t.rejects(waiting, reason);
  await clock.advance(3_000);
  stop.abort(reason);
  await rejected;
  t.equal(clock.pending, 0);
});
