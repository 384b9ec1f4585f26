// All that a transport needs, on loopback: an API that starts sessions, a gateway, and an agent behind it. Each does the
// least that is right; a test turns off or replaces what it is about.
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Test } from 'tap';
import type { SessionHandle, SsmApi, UpgradeSigner } from '../../src/aws/ssm-api.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import { AwsError } from '../../src/errors.ts';
import { silent } from '../../src/log.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import { Flag, MessageType, PayloadType, parseAcknowledge, parseMessage } from '../../src/ssm/message.ts';
import { openSsmTransport, type SsmTransport } from '../../src/ssm/transport.ts';
import type { SsmTransportOptions } from '../../src/ssm/transport-options.ts';
import { type Dial, GatewayServer } from './gateway-server.ts';
import { acknowledge, channelClosed, handshakeComplete, handshakeRequest, output } from './peer.ts';

export const target = 'i-0123456789abcdef0';

/** Resolves when `condition` holds; fails after 10 s. Not a sleep: it looks again in every turn of the event loop. */
export async function until(condition: () => boolean, what = condition.toString()): Promise<void> {
  const giveUp = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > giveUp) throw new Error(`it never came to this: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export class Api implements SsmApi {
  readonly region = 'us-east-1';
  readonly calls: string[] = [];
  /** How often connections were forgotten. */
  forgotten = 0;
  readonly #port: number;
  #tokens = 0;
  /** Where each StreamUrl leads. */
  origin: string;
  /** Appended to path and query of each StreamUrl. */
  query = '?role=publish_subscribe&cell-number=AAEAATf2ktZ+bscw/Vmu=';
  onStart: (signal?: AbortSignal) => Promise<void> = async () => {};
  onResume: (handle: SessionHandle, signal?: AbortSignal) => Promise<SessionHandle> = async (handle) => handle;
  onTerminate: (signal?: AbortSignal) => Promise<void> = async () => {};

  constructor(port: number) {
    this.#port = port;
    this.origin = `ws://127.0.0.1:${port}`;
  }

  #handle(sessionId: string): SessionHandle {
    const tokenValue = `token-${++this.#tokens}`;
    return {
      sessionId,
      tokenValue,
      streamUrl: `${this.origin}/v1/data-channel/${sessionId}${this.query}`,
    };
  }

  count(call: string): number {
    return this.calls.filter((name) => name === call).length;
  }

  async startSession(_request: unknown, signal?: AbortSignal): Promise<SessionHandle> {
    this.calls.push('start');
    await this.onStart(signal);
    return this.#handle('alice@example.com-0123456789abcdef0');
  }

  async resumeSession(sessionId: string, signal?: AbortSignal): Promise<SessionHandle> {
    this.calls.push('resume');
    return await this.onResume(this.#handle(sessionId), signal);
  }

  async terminateSession(_sessionId: string, signal?: AbortSignal): Promise<void> {
    this.calls.push('terminate');
    await this.onTerminate(signal);
  }

  async getConnectionStatus(): Promise<'connected'> {
    return 'connected';
  }

  forgetConnections(): void {
    this.forgotten += 1;
  }

  async endpoint(): Promise<URL> {
    return new URL(`http://127.0.0.1:${this.#port}`);
  }
}

export function awsError(apiCode: string, retryable: boolean, code = `aws-${apiCode.toLowerCase()}`): AwsError {
  return new AwsError(code, `AWS answered ${apiCode}`, {
    service: 'ssm',
    apiCode,
    retryable,
  });
}

/** The agent of one session, over all its sockets. */
export class Agent {
  dial: Dial | undefined;
  /** Bytes for the target, in order. */
  readonly written: Buffer[] = [];
  readonly payloadLengths: number[] = [];
  terminated = false;
  acknowledges = true;
  completesHandshake = true;
  /** The handshake has been completed, so it is not repeated. */
  #isOpen = false;
  #expected = 0;
  #ahead = new Map<number, Buffer>();
  #next = 2;
  #unacknowledged = new Map<number, Buffer>();

  attach(dial: Dial): void {
    this.dial = dial;
    dial.onMessage = (bytes) => this.#receive(bytes);
    if (this.#isOpen) dial.send(...this.#unacknowledged.values());
    else dial.send(handshakeRequest(0));
  }

  /** Output of the target. */
  send(bytes: string | Uint8Array): void {
    const message = output(this.#next, bytes);
    this.#unacknowledged.set(this.#next++, message);
    if (this.dial !== undefined && !this.dial.isGone) this.dial.send(message);
  }

  get unacknowledged(): number {
    return this.#unacknowledged.size;
  }

  get text(): string {
    return Buffer.concat(this.written).toString('latin1');
  }

  end(text = ''): void {
    this.dial!.send(channelClosed(text));
  }

  #receive(bytes: Buffer): void {
    const message = parseMessage(bytes);
    if (message.messageType === MessageType.acknowledge) {
      this.#unacknowledged.delete(parseAcknowledge(message.payload).sequenceNumber);
      return;
    }
    if (!this.acknowledges && message.payloadType !== PayloadType.handshakeResponse) return;
    const { sequenceNumber } = message;
    this.dial!.send(acknowledge(sequenceNumber));
    if (sequenceNumber >= this.#expected) this.#ahead.set(sequenceNumber, bytes);
    for (;;) {
      const next = this.#ahead.get(this.#expected);
      if (next === undefined) return;
      this.#ahead.delete(this.#expected++);
      this.#take(next);
    }
  }

  #take(bytes: Buffer): void {
    const { payloadType, payload } = parseMessage(bytes);
    if (payloadType === PayloadType.handshakeResponse && this.completesHandshake) {
      this.#isOpen = true;
      this.dial!.send(handshakeComplete(1));
    }
    if (payloadType === PayloadType.output) {
      this.written.push(payload);
      this.payloadLengths.push(payload.length);
    }
    if (payloadType === PayloadType.flag && payload.readUInt32BE(0) === Flag.terminateSession) {
      this.terminated = true;
      this.end();
    }
  }
}

export interface Stage {
  gateway: GatewayServer;
  api: Api;
  agent: Agent;
  /** Signatures made; each has its number. */
  signed: string[];
  refusals: string[];
  started: string[];
  ended: string[];
  options: SsmTransportOptions;
  /** An open transport, destroyed when the test ends. */
  open(signal?: AbortSignal): Promise<SsmTransport>;
}

export async function stage(t: Test, options: Partial<SsmTransportOptions> & { clock?: Clock } = {}): Promise<Stage> {
  const gateway = await GatewayServer.listen();
  const agent = new Agent();
  gateway.onOpen = (dial) => agent.attach(dial);
  const api = new Api(gateway.port);
  const signed: string[] = [];
  const refusals: string[] = [];
  const started: string[] = [];
  const ended: string[] = [];
  const signer: UpgradeSigner = {
    async sign(streamUrl) {
      signed.push(streamUrl);
      return { Authorization: `AWS4-HMAC-SHA256 ${signed.length}`, 'X-Amz-Date': '20260102T030405Z' };
    },
  };
  const all: SsmTransportOptions = {
    api,
    signer,
    clock: systemClock,
    log: silent,
    request: { target, documentName: 'AWS-StartSSHSession', parameters: { portNumber: ['22'] }, reason: randomUUID() },
    clientVersion: '1.2.896.0',
    streamHosts: [],
    pingIntervalMs: 25_000,
    maxPayloadBytes: 1024,
    maxMessagesPerSecond: 100_000,
    resumeTimeoutMs: 60_000,
    networkWatch: new NetworkWatch(options.clock ?? systemClock, () => ''),
    payloadMemory: { refusesLargePayloads: () => false, rememberRefusal: (region) => refusals.push(region) },
    notes: { started: (sessionId) => started.push(sessionId), ended: (sessionId) => ended.push(sessionId) },
    ...options,
  };
  let transport: SsmTransport | undefined;
  t.teardown(async () => {
    if (transport !== undefined && !transport.closed) {
      transport.on('error', () => {});
      transport.destroy();
    }
    await gateway.close();
  });
  return {
    gateway,
    api,
    agent,
    signed,
    refusals,
    started,
    ended,
    options: all,
    async open(signal = new AbortController().signal) {
      transport = await openSsmTransport(all, signal);
      return transport;
    },
  };
}

/** Reads a transport from now on. */
export function collect(transport: Readable): { text: () => string; length: () => number; ended: () => boolean } {
  const chunks: Buffer[] = [];
  let ended = false;
  transport.on('data', (chunk: Buffer) => chunks.push(chunk));
  transport.on('end', () => {
    ended = true;
  });
  return {
    text: () => Buffer.concat(chunks).toString('latin1'),
    length: () => chunks.reduce((sum, { length }) => sum + length, 0),
    ended: () => ended,
  };
}

export function closed(transport: Readable): Promise<void> {
  return transport.closed ? Promise.resolve() : new Promise((resolve) => transport.once('close', resolve));
}
