// Whatever an agent writes into a multiplexed session: it is read, or it is a ProtocolError, however it was cut.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { ProtocolError } from '../../src/errors.ts';
import { Command, FrameReader, serializeFrame } from '../../src/ssm/mux/frame.ts';
import { Mux, type MuxEvent } from '../../src/ssm/mux/mux.ts';
import { AgentMux } from '../region/agent/mux.ts';
import { runs } from './runs.ts';

const frame = fc
  .record({
    command: fc.constantFrom(...Object.values(Command)),
    streamId: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 0xffffffff })),
    data: fc.uint8Array({ maxLength: 300 }),
  })
  .map(({ command, streamId, data }) => serializeFrame(command, streamId, command === Command.psh ? [data] : []));
const frames = fc.array(frame, { maxLength: 30 }).map((list) => Buffer.concat(list));
const anything = fc.oneof(
  frames,
  fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(frames, fc.uint8Array({ maxLength: 50 })).map((parts) => Buffer.concat(parts)),
);
const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 });

function pieces(bytes: Buffer, sizes: number[]): Buffer[] {
  const result: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    result.push(bytes.subarray(at, at + size));
    at += size;
  }
  return result;
}

/** Data of one stream put together; undefined where it could not be read. */
function receive(chunks: Buffer[]): string[] | undefined {
  const mux = new Mux(10_000, 0);
  for (let i = 0; i < 4; i++) mux.open();
  const told = new Map<number, string>();
  try {
    for (const chunk of chunks) for (const event of mux.receive(chunk, 0)) tell(told, event);
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
  return [...told].map(([streamId, text]) => `${streamId} ${text}`).sort();
}

function tell(told: Map<number, string>, event: MuxEvent): void {
  const before = told.get(event.streamId) ?? '';
  told.set(event.streamId, before + (event.type === 'data' ? event.bytes.toString('hex') : event.type));
}

t.test('what the agent writes means the same however it is cut, and is a ProtocolError at worst', async (t) => {
  fc.assert(
    fc.property(anything, cuts, (bytes, sizes) => {
      assert.deepStrictEqual(receive(pieces(bytes, sizes)), receive([bytes]));
    }),
    runs(300),
  );
  t.pass();
});

t.test('whatever is opened, written and closed, what goes out can be read', async (t) => {
  const step = fc.oneof(
    fc.constant({ do: 'open' as const }),
    fc.record({ do: fc.constant('write' as const), stream: fc.nat(8), length: fc.nat(40_000) }),
    fc.record({ do: fc.constant('finish' as const), stream: fc.nat(8) }),
    fc.record({ do: fc.constant('abandon' as const), stream: fc.nat(8) }),
    fc.record({ do: fc.constant('send' as const), ms: fc.nat(20_000) }),
    fc.record({ do: fc.constant('receive' as const), bytes: frames }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const mux = new Mux(10_000, 0);
      const reader = new FrameReader();
      const agent = new AgentMux();
      let now = 0;
      for (const step of steps) {
        if (step.do === 'open') mux.open();
        else if (step.do === 'write') mux.write(3 + 2 * step.stream, Buffer.alloc(step.length));
        else if (step.do === 'finish') mux.finish(3 + 2 * step.stream);
        else if (step.do === 'abandon') mux.abandon(3 + 2 * step.stream);
        else if (step.do === 'receive') mux.receive(step.bytes, now);
        else {
          now += step.ms;
          for (let frame = mux.next(now); frame !== undefined; frame = mux.next(now)) {
            reader.read(frame);
            if (agent.receive(frame).some(({ type }) => type === 'broken'))
              throw new Error('the agent can not read it');
          }
          if ((mux.deadline(now) ?? Infinity) <= now) throw new Error('due, but nothing to send');
        }
      }
      if (!reader.atBoundary) throw new Error('a frame is not whole');
    }),
    runs(500),
  );
  t.pass();
});
