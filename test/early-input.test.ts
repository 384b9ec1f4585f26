import { PassThrough } from 'node:stream';
import t from 'tap';
import { EarlyInput } from '../src/early-input.ts';
import { turn } from './manual-clock.ts';

t.test('what stdin said before the tunnel was open comes first, and nothing twice', async (t) => {
  const source = new PassThrough();
  const early = new EarlyInput(source, () => t.fail('not at its end'));
  source.write('one ');
  await turn();
  source.write('two ');
  await turn();
  const stdin = early.release();
  source.write('three');
  await turn();
  let text = '';
  stdin.on('data', (chunk) => {
    text += chunk;
  });
  stdin.resume();
  await turn();
  t.equal(text, 'one two three');
});

t.test('before the tunnel is open the end of stdin is noticed, and what is held is bounded', async (t) => {
  let ended = false;
  const source = new PassThrough({ highWaterMark: 1024 });
  new EarlyInput(source, () => {
    ended = true;
  });
  source.end('hello');
  await turn();
  t.ok(ended);

  const flood = new PassThrough({ highWaterMark: 1024 });
  new EarlyInput(flood, () => {});
  let accepted = 0;
  while (accepted < 1_000_000 && flood.write(Buffer.alloc(1024))) {
    accepted += 1024;
    await turn();
  }
  t.ok(accepted < 70_000, `${accepted} bytes`);
});
