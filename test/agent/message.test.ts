import fc from 'fast-check';
import t from 'tap';
import {
  FrameReader,
  isSessionBind,
  MessageNumber,
  maxMessageLength,
  parseIdentitiesAnswer,
  parseRequest,
  serializeFrame,
  serializeIdentitiesAnswer,
  serializeSignResponse,
} from '../../src/agent/message.ts';
import { ProtocolError } from '../../src/errors.ts';
import { Reader } from '../../src/wire/reader.ts';
import { Writer } from '../../src/wire/writer.ts';
import { exchanges, recorded } from './transcript.ts';

const refused = { name: 'ProtocolError', code: 'agent-message' };
const { SSH_AGENTC_EXTENSION, SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENTC_SIGN_REQUEST } = MessageNumber;

t.test('what OpenSSH says is understood', async (t) => {
  const types = new Map<string, number>();
  for (const { request } of exchanges) {
    const { type } = parseRequest(request);
    types.set(type, (types.get(type) ?? 0) + 1);
  }
  t.strictSame([...types.keys()].sort(), ['identities', 'other', 'remove', 'session-bind', 'sign']);
  t.equal(types.get('other'), 2, 'remove all, in its two versions');
});

t.test('session-bind has a host key, a session, a signature, and says whether it is forwarded', async (t) => {
  const binds = recorded(SSH_AGENTC_EXTENSION, 'ssh -A').map(({ request }) => parseRequest(request));
  t.match(binds, [
    { type: 'session-bind', bind: { isForwarding: false } },
    { type: 'session-bind', bind: { isForwarding: true } },
  ]);
  const parsed = parseRequest(recorded(SSH_AGENTC_EXTENSION, 'ssh, host key ed25519')[0]!.request);
  t.ok(parsed.type === 'session-bind');
  if (parsed.type !== 'session-bind') return;
  t.equal(new Reader(parsed.bind.hostKey, 'x').text(), 'ssh-ed25519');
  t.equal(parsed.bind.sessionId.length, 64, 'SHA-512, by sntrup761x25519');
});

t.test("the real agent's list of keys is read, and written as the real agent writes it", async (t) => {
  const lists = recorded(SSH_AGENTC_REQUEST_IDENTITIES);
  t.strictSame(parseIdentitiesAnswer(lists[0]!.answer), []);
  t.match(parseIdentitiesAnswer(lists[1]!.answer), [{ comment: Buffer.from('user') }]);
  for (const { answer } of lists) t.strictSame(serializeIdentitiesAnswer(parseIdentitiesAnswer(answer)!), answer);
});

t.test('a signature is answered as the real agent answers it', async (t) => {
  for (const { answer } of recorded(SSH_AGENTC_SIGN_REQUEST)) {
    t.strictSame(serializeSignResponse(new Reader(answer.subarray(1), 'x').string()), answer);
  }
});

t.test('an agent that refuses to list has no keys; one that answers something else is wrong', async (t) => {
  t.equal(parseIdentitiesAnswer(Buffer.from([MessageNumber.SSH_AGENT_FAILURE])), undefined);
  t.throws(() => parseIdentitiesAnswer(Buffer.from([MessageNumber.SSH_AGENT_SUCCESS])), refused);
  const many = new Writer().byte(MessageNumber.SSH_AGENT_IDENTITIES_ANSWER).uint32(0xffffffff).finish();
  t.throws(() => parseIdentitiesAnswer(many), refused, 'a count without keys');
});

t.test('a request that is cut or too long is refused, wherever it is cut', async (t) => {
  for (const { request, what } of exchanges.filter(({ request }) => parseRequest(request).type !== 'other')) {
    for (let length = 0; length < request.length; length += 1) {
      const cut = request.subarray(0, length);
      // An extension whose name is cut is another extension, and no business of ours.
      if (request[0] === SSH_AGENTC_EXTENSION && length > 0 && !isSessionBind(cut)) continue;
      if (!throws(() => parseRequest(cut))) t.fail(`${what} cut to ${length} bytes`);
    }
    t.throws(() => parseRequest(Buffer.concat([request, Buffer.alloc(1)])), refused, what);
  }
});

t.test('a message that is not known keeps its body', async (t) => {
  for (const number of [1, 9, 17, 22, 25, 26, 99, 240, 255]) {
    const message = Buffer.from([number, 1, 2, 3]);
    t.strictSame(parseRequest(message), { type: 'other', number });
  }
  const query = new Writer().byte(SSH_AGENTC_EXTENSION).string('query').finish();
  t.strictSame(parseRequest(query), { type: 'other', number: SSH_AGENTC_EXTENSION });
});

t.test('keys that would make the list too long are left out from its end', async (t) => {
  const key = (length: number) => ({ keyBlob: Buffer.alloc(length), comment: Buffer.alloc(0) });
  const room = maxMessageLength - 5 - 16;
  t.equal(serializeIdentitiesAnswer([key(room - 7), key(7)]).length, maxMessageLength);
  const answer = serializeIdentitiesAnswer([key(room - 7), key(8)]);
  t.equal(parseIdentitiesAnswer(answer)!.length, 1);
});

t.test('a frame has at least one byte and at most 256 KiB', async (t) => {
  const head = (length: number) => new Writer().uint32(length).finish();
  t.throws(() => new FrameReader().push(head(0)), refused);
  t.throws(() => new FrameReader().push(head(maxMessageLength + 1)), refused);
  const whole = Buffer.alloc(maxMessageLength, 1);
  t.strictSame(new FrameReader().push(serializeFrame(whole)), [whole]);
});

t.test('a frame that was only announced costs little memory', async (t) => {
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 200 }, () => {
    const reader = new FrameReader();
    reader.push(Buffer.from('0004000001', 'hex'));
    return reader;
  });
  t.ok(process.memoryUsage().arrayBuffers - before < 200 * 16_384, 'of 50 MiB announced');
  t.equal(readers.length, 200);
});

t.test('however the stream is cut into chunks, the same messages come out, none early', async () => {
  const message = fc.uint8Array({ minLength: 1, maxLength: 10_000 });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 5 }),
      fc.array(fc.nat(30_000)),
      fc.boolean(),
      (messages, cuts, bytewise) => {
        const stream = Buffer.concat(messages.map((each) => serializeFrame(Buffer.from(each))));
        const marks = bytewise ? [...stream.keys()].slice(0, 3000) : cuts.filter((cut) => cut < stream.length);
        const edges = [0, ...marks.sort((a, b) => a - b), stream.length];
        const reader = new FrameReader();
        const out: Buffer[] = [];
        let taken = 0;
        for (const [index, edge] of edges.slice(1).entries()) {
          const chunk = stream.subarray(edges[index], edge);
          taken += chunk.length;
          out.push(...reader.push(chunk));
          if (out.reduce((sum, each) => sum + 4 + each.length, 0) > taken) return false;
        }
        return out.length === messages.length && out.every((each, index) => each.equals(messages[index]!));
      },
    ),
    { numRuns: 60 },
  );
});

t.test('any bytes give messages or a ProtocolError, and any message a request or a ProtocolError', async () => {
  const starts = exchanges.flatMap(({ request, answer }) => [request, answer]);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.constantFrom(...starts), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }))
      .map(([start, changes]) => {
        const copy = Buffer.from(start);
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      }),
  );
  fc.assert(
    fc.property(bytes, (value) => {
      const buffer = Buffer.from(value);
      for (const parse of [parseRequest, parseIdentitiesAnswer, (each: Buffer) => new FrameReader().push(each)]) {
        throws(() => parse(buffer));
      }
      return true;
    }),
    { numRuns: 2000 },
  );
});

/** Whether it threw a ProtocolError; any other error is let through. */
function throws(call: () => unknown): boolean {
  try {
    call();
    return false;
  } catch (error) {
    if (error instanceof ProtocolError) return true;
    throw error;
  }
}
