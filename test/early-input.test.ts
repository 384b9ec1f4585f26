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

t.test('a source that was given back can be watched again, with all that was read of it', async (t) => {
  const source = new PassThrough();
  source.write('one ');
  new EarlyInput(source, () => t.fail('not the one that was released')).release();
  let ended = false;
  const again = new EarlyInput(source, () => {
    ended = true;
  });
  await turn();
  source.write('two');
  await turn();
  let text = '';
  again.release().on('data', (chunk) => {
    text += chunk;
  });
  source.resume();
  await turn();
  t.equal(text, 'one two');

  const ending = new PassThrough();
  new EarlyInput(ending, () => t.fail('not the one that was released')).release();
  new EarlyInput(ending, () => {
    ended = true;
  });
  ending.end();
  await turn();
  t.ok(ended);
});
