// The client's end of a multiplexed session: streams, their ends, whose turn it is, and signs of life. Time is the test's.
import t from 'tap';
import { Command, FrameReader, serializeFrame } from '../../../src/ssm/mux/frame.ts';
import { Mux } from '../../../src/ssm/mux/mux.ts';
import { quantumBytes, unprovenBytes } from '../../../src/ssm/mux/queue.ts';

const names = { [Command.syn]: 'syn', [Command.fin]: 'fin', [Command.psh]: 'psh', [Command.nop]: 'nop' };

/** What goes out now, as text: `psh 3 5` are five bytes for stream 3. At most `frames`. */
function sent(mux: Mux, now = 0, frames = Number.POSITIVE_INFINITY): string[] {
  const lines: string[] = [];
  for (let i = 0; i < frames; i++) {
    const frame = mux.next(now);
    if (frame === undefined) break;
    const { command, streamId, data } = new FrameReader().read(frame)[0]!;
    lines.push(`${names[command]} ${streamId}${data.length > 0 ? ` ${data.length}` : ''}`);
  }
  return lines;
}

function fromAgent(command: Command, streamId: number, data = ''): Buffer {
  return serializeFrame(command, streamId, [Buffer.from(data)]);
}

const answer = (mux: Mux, streamId: number, now: number) => mux.receive(fromAgent(Command.psh, streamId, 'a'), now);
const bulk = (quanta: number) => Buffer.alloc(quanta * quantumBytes);

t.test('streams are numbered 3, 5, 7; SYN and data go, FIN goes behind the data', async (t) => {
  const mux = new Mux(10_000, 0);
  t.same([mux.open(), mux.open(), mux.open()], [3, 5, 7]);
  mux.write(5, Buffer.from('hello'));
  mux.finish(5);
  mux.write(5, Buffer.from('too late'));
  mux.finish(3);
  t.same(sent(mux), ['syn 3', 'syn 5', 'syn 7', 'fin 3', 'psh 5 5', 'fin 5']);
  t.equal(mux.size, 1);
});

t.test('an abandoned stream sends FIN, and not what waited', async (t) => {
  const mux = new Mux(10_000, 0);
  mux.open();
  sent(mux);
  mux.write(3, Buffer.from('never'));
  mux.abandon(3);
  t.same(sent(mux), ['fin 3']);
  t.equal(mux.waitingBytes(3), 0);
});

t.test('data and the end of a stream are told in order; what follows FIN is thrown away', async (t) => {
  const mux = new Mux(10_000, 0);
  mux.open();
  const bytes = [
    fromAgent(Command.psh, 3, 'one'),
    fromAgent(Command.fin, 3),
    fromAgent(Command.psh, 3, 'after'),
    fromAgent(Command.psh, 9, 'unknown'),
    fromAgent(Command.fin, 9),
  ];
  t.match(mux.receive(Buffer.concat(bytes), 0), [
    { type: 'data', streamId: 3, bytes: Buffer.from('one') },
    { type: 'end', streamId: 3 },
  ]);
  mux.write(3, Buffer.from('nobody takes it'));
  t.same(sent(mux), ['syn 3']);
});

t.test('after our FIN nothing is told of a stream any more', async (t) => {
  const mux = new Mux(10_000, 0);
  mux.open();
  mux.finish(3);
  t.same(mux.receive(Buffer.concat([fromAgent(Command.psh, 3, 'late'), fromAgent(Command.fin, 3)]), 0), []);
});

t.test('FIN without data is a refusal where the agent said that it could not connect', async (t) => {
  const mux = new Mux(10_000, 0);
  for (let i = 0; i < 4; i++) mux.open();
  answer(mux, 3, 0);
  mux.connectError();
  const events = [3, 5, 7].flatMap((streamId) => mux.receive(fromAgent(Command.fin, streamId), 0));
  t.same(
    events.map(({ type }) => type),
    ['end', 'refused', 'end'],
    'one that was heard, the one that is meant, and one that said nothing',
  );
});

t.test('a refusal whose stream was given up does not count for the next one', async (t) => {
  const mux = new Mux(10_000, 0);
  mux.open();
  mux.connectError();
  mux.abandon(3);
  mux.connectError();
  mux.open();
  t.same(mux.receive(fromAgent(Command.fin, 5), 0)[0]!.type, 'end');
});

t.test('what can not be read is an error', async (t) => {
  t.throws(() => new Mux(10_000, 0).receive(Buffer.from('SSH-2.0-OpenSSH_9.6\r\n'), 0), { code: 'mux' });
});

t.test('busy streams take turns, a quantum each', async (t) => {
  const mux = new Mux(10_000, 0);
  for (const streamId of [mux.open(), mux.open(), mux.open()]) mux.write(streamId, bulk(4));
  const turns = sent(mux)
    .slice(3)
    .map((line) => line.split(' ')[1]);
  t.same(turns.slice(0, 9), ['3', '5', '7', '3', '5', '7', '3', '5', '7']);
  t.equal(turns.length, 12);
});

t.test('a question does not stand behind uploads', async (t) => {
  const mux = new Mux(10_000, 0);
  for (let i = 0; i < 20; i++) mux.write(mux.open(), bulk(64));
  sent(mux, 0, 100);
  const asking = mux.open();
  mux.write(asking, Buffer.from('select 1'));
  t.same(sent(mux, 0, 2), [`syn ${asking}`, `psh ${asking} 8`]);
  mux.write(asking, Buffer.from('select 2'));
  t.same(sent(mux, 0, 1), [`psh ${asking} 8`], 'nor does the next one');
});

t.test('one that always has a little to say does not starve the others', async (t) => {
  const mux = new Mux(10_000, 0);
  const talker = mux.open();
  const uploader = mux.open();
  sent(mux);
  mux.write(uploader, bulk(100));
  let uploaded = 0;
  for (let i = 0; i < 100; i++) {
    mux.write(talker, Buffer.alloc(quantumBytes));
    if (sent(mux, 0, 1)[0]!.startsWith(`psh ${uploader} `)) uploaded++;
  }
  t.ok(uploaded >= 49, `${uploaded} of 100 turns`);
});

/** A stream in a conversation: a question and its answer at `now`. */
function converse(mux: Mux, streamId: number, now: number): void {
  mux.write(streamId, Buffer.from('?'));
  sent(mux, now, 1);
  answer(mux, streamId, now);
}

t.test('an upload whose server says nothing yields to conversations, and goes on when there are none', async (t) => {
  const mux = new Mux(100_000, 0);
  const upload = mux.open();
  const talk = mux.open();
  sent(mux);
  converse(mux, talk, 0);
  mux.write(upload, Buffer.alloc(4 * unprovenBytes));
  const first = sent(mux).length;
  t.ok(first * quantumBytes >= unprovenBytes, 'up to its bound at once');
  t.ok(first * quantumBytes <= unprovenBytes + quantumBytes, 'and then no more');
  t.ok(mux.isStrained(0));
  t.equal(mux.deadline(0), 250, 'but for a trickle');
  t.same(sent(mux, 250), [`psh ${upload} ${quantumBytes}`]);
  converse(mux, talk, 400);
  t.same(sent(mux, 400), [], 'not while others talk');
  t.ok(sent(mux, 900).length > 100, 'at full speed when they are silent');
});

t.test('it yields too while the next answer of a conversation takes long, but not for ever', async (t) => {
  const mux = new Mux(100_000, 0);
  const upload = mux.open();
  const [talk, silent] = [mux.open(), mux.open()];
  sent(mux);
  converse(mux, talk, 0);
  mux.write(upload, Buffer.alloc(8 * unprovenBytes));
  sent(mux);
  mux.write(talk, Buffer.from('?'));
  mux.write(silent, Buffer.from('listening'));
  t.same(sent(mux, 100).slice(0, 2), [`psh ${talk} 1`, `psh ${silent} 9`]);
  for (let now = 350; now < 5_100; now += 250) t.same(sent(mux, now), [`psh ${upload} ${quantumBytes}`], 'a trickle');
  answer(mux, talk, 5_060);
  t.equal(sent(mux, 5_101).length, 1, 'answered: the conversation goes on');
  mux.write(talk, Buffer.from('?'));
  t.same(sent(mux, 5_200), [`psh ${talk} 1`]);
  t.equal(sent(mux, 10_199).length, 1);
  t.ok(sent(mux, 10_201).length > 100, 'an answer that does not come is not waited for; nor who was never answered');
});

t.test('an upload whose server answers is not held up', async (t) => {
  const mux = new Mux(100_000, 0);
  const upload = mux.open();
  const talk = mux.open();
  sent(mux);
  for (let quanta = 0; quanta * quantumBytes < 4 * unprovenBytes; quanta += 4) {
    converse(mux, talk, 0);
    mux.write(upload, bulk(4));
    t.equal(sent(mux).length, 4);
    answer(mux, upload, 0);
  }
});

t.test('an upload alone, or beside others, is not held up', async (t) => {
  const mux = new Mux(100_000, 0);
  for (const streamId of [mux.open(), mux.open()]) {
    mux.write(streamId, Buffer.alloc(4 * unprovenBytes));
  }
  t.ok(sent(mux).length * quantumBytes >= 8 * unprovenBytes);
});

t.test('a NOP is sent when nothing was for long, as long as there are streams', async (t) => {
  const mux = new Mux(1_000, 0);
  t.equal(mux.deadline(0), undefined, 'nothing without streams');
  mux.open();
  t.equal(mux.deadline(500), 500);
  sent(mux, 500);
  t.equal(mux.deadline(500), 1_500);
  t.same(sent(mux, 1_499), []);
  t.same(sent(mux, 1_500), ['nop 0']);
  t.equal(mux.deadline(1_500), 2_500);
  mux.finish(3);
  sent(mux, 1_600);
  t.equal(mux.deadline(1_600), undefined);
});
