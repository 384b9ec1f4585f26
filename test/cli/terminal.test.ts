import { spawnSync } from 'node:child_process';
import t from 'tap';
import { Terminal } from '../../src/cli/terminal.ts';
import { KeyholeError, TransportError, UsageError } from '../../src/errors.ts';

function recorded() {
  const written: string[] = [];
  const terminal = new Terminal((fd, text) => written.push(`${fd}:${text}`));
  return { terminal, written };
}

t.test('a failure is one line, and one line of hint where there is one', async (t) => {
  const one = recorded();
  t.equal(one.terminal.fail(new TransportError('x', 'it broke')), 1);
  t.strictSame(one.written, ['2:keyhole: it broke\n']);
  const two = recorded();
  t.equal(two.terminal.fail(new UsageError('x', 'wrong', { hint: 'do this' })), 2);
  t.strictSame(two.written, ['2:keyhole: wrong\nkeyhole: hint: do this\n']);
});

t.test('a failure of a connection names its host, once; what is written wrongly is wrong for all', async (t) => {
  const said = (error: KeyholeError) => {
    const { terminal, written } = recorded();
    terminal.concernsHost('i-1.eu-west-1');
    terminal.fail(error);
    return written.join();
  };
  t.equal(said(new TransportError('x', 'it broke')), '2:keyhole: i-1.eu-west-1: it broke\n');
  t.equal(said(new TransportError('x', 'i-1 is away')), '2:keyhole: i-1 is away\n');
  t.equal(said(new UsageError('x', 'wrong')), '2:keyhole: wrong\n');
});

t.test('nothing is said twice, and nothing after the target has spoken', async (t) => {
  const { terminal, written } = recorded();
  terminal.fail(new TransportError('x', 'it broke'));
  terminal.fail(new TransportError('x', 'it broke again'));
  t.equal(written.length, 1);
  const silent = recorded();
  silent.terminal.silence();
  t.equal(silent.terminal.fail(new TransportError('x', 'it broke')), 1, 'the exit status still tells');
  t.strictSame(silent.written, []);
});

t.test('whoever sent a signal is not told of it', async (t) => {
  const { terminal, written } = recorded();
  t.equal(terminal.fail(new KeyholeError('interrupted', 'ended by SIGTERM')), 1);
  t.strictSame(written, []);
});

t.test('a message cannot become two lines or control the terminal', async (t) => {
  const { terminal, written } = recorded();
  terminal.fail(new TransportError('x', 'a\nkeyhole: b\r\u001b[2J\u009b1m', { hint: 'c\u2028d' }));
  t.strictSame(written, ['2:keyhole: a keyhole: b [2J 1m\nkeyhole: hint: c d\n']);
});

t.test('an error that is not ours is called a bug', async (t) => {
  const { terminal, written } = recorded();
  t.equal(terminal.fail(new TypeError('x is not a function')), 1);
  t.match(written[0], /^2:keyhole: internal error: TypeError: x is not a function\nkeyhole: hint: .*report it\n$/);
});

t.test('neither libraries nor Node itself get a word in', async (t) => {
  const noisy = `
    console.log('log'); console.warn('warn'); console.error('error'); console.trace('trace');
    process.emitWarning('NodeVersionSupportWarning'); new Buffer(1);
  `;
  const run = (code: string) => {
    const args = ['--input-type=module', '-e', code];
    const { stdout, stderr } = spawnSync(process.execPath, args, { env: { PATH: process.env.PATH } });
    return `${stdout}${stderr}`;
  };
  t.match(run(noisy), /log.*warn.*error.*trace.*Warning/s, 'they would');
  const terminal = JSON.stringify(new URL('../../src/cli/terminal.ts', import.meta.url).href);
  t.equal(run(`import { muteLibraries } from ${terminal}; muteLibraries(); ${noisy}`), '');
});
