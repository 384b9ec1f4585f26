// A transfer on its way to the reader: what waits for more of it is handed on before anything else happens.
import t, { type Test } from 'tap';
import { ManualClock, moving } from './manual-clock.ts';
import { stage, until } from './stage.ts';

t.test('a transfer is handed on together, and with its acknowledgements', async (t) => {
  const clock = new ManualClock();
  const { agent, transport, pieces } = await transfer(t, clock);
  const before = agent.unacknowledged;
  agent.send(Buffer.alloc(1024, 'b'));
  agent.send(Buffer.alloc(1024, 'c'));
  await until(() => transport.stats().bytesReceived === 22 * 1024);
  t.strictSame(pieces, []);
  clock.advance(4);
  t.strictSame(pieces.splice(0), [2048], 'together');
  await until(() => agent.unacknowledged === before);
  agent.send(Buffer.alloc(1024, 'd'));
  agent.send('the end');
  await until(() => pieces.length === 2);
  t.strictSame(pieces, [1024, 7], 'a shorter message takes all with it');
});

const ends = {
  'the end of the session': ({ agent }: Transfer) => agent.end(),
  'a lost socket': ({ gateway }: Transfer) => gateway.last.webSocket!.terminate(),
  'our own end': ({ transport }: Transfer) => transport.end(),
  'an error of ours': ({ transport }: Transfer) => transport.destroy(new Error('no more')),
};
for (const [name, end] of Object.entries(ends)) {
  t.test(`what waits of a transfer comes before ${name}`, async (t) => {
    const clock = new ManualClock();
    const scene = await transfer(t, clock);
    const { agent, transport, pieces } = scene;
    transport.on('error', () => {});
    agent.send(Buffer.alloc(1024, 'b'));
    await until(() => transport.stats().bytesReceived === 21 * 1024);
    t.strictSame(pieces, []);
    end(scene);
    await moving(clock, 1, () => pieces.length > 0);
    t.strictSame(pieces, [1024]);
  });
}

type Transfer = Awaited<ReturnType<typeof transfer>>;

/** In the middle of a download: 20 messages have been handed on. */
async function transfer(t: Test, clock: ManualClock) {
  const scene = await stage(t, { clock });
  const transport = await scene.open();
  const pieces: number[] = [];
  transport.on('data', (bytes: Buffer) => pieces.push(bytes.length));
  for (let at = 0; at < 20; at++) scene.agent.send(Buffer.alloc(1024, 'a'));
  const got = () => pieces.reduce((sum, each) => sum + each, 0);
  await moving(clock, 1, () => got() === 20 * 1024 && scene.agent.unacknowledged === 0);
  pieces.splice(0);
  return { ...scene, transport, pieces };
}
