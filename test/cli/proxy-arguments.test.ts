import t from 'tap';
import { parseProxyArguments } from '../../src/cli/proxy-arguments.ts';

const host = 'i-0123456789abcdef0';

t.test('host, port and user are read as ssh hands them over', async (t) => {
  t.match(parseProxyArguments([host, '22']), { host: { instanceId: host }, operands: { host, port: '22' }, flags: {} });
  t.match(parseProxyArguments(['--', host, '2222', 'alice']).operands, { host, port: '2222', user: 'alice' });
  t.match(parseProxyArguments(['--no-daemon', '--', host, '22']), { daemon: false, host: { instanceId: host } });
});

t.test('setup can say where the sockets are', async (t) => {
  const parsed = parseProxyArguments(['--runtime-dir=/run/user/1000/keyhole', '--', host, '22']);
  t.match(parsed, { runtimeDir: '/run/user/1000/keyhole', flags: {} });
  t.equal(parseProxyArguments([host, '22']).runtimeDir, undefined);
  t.throws(() => parseProxyArguments(['--runtime-dir=here', host, '22']), { code: 'bad-usage' });
  t.throws(() => parseProxyArguments(['--runtime-dir']), { code: 'bad-usage' });
});

t.test('another process of the helper can hand its conversation over, and nobody else needs that', async (t) => {
  t.match(parseProxyArguments(['--control-fd=3', '--waited=5', '--', host, '22']), { controlFd: 3, waited: 5 });
  t.match(parseProxyArguments([host, '22']), { controlFd: undefined, waited: 0 });
  for (const word of [
    '--waited',
    '--waited=',
    '--waited=1s',
    '--control-fd',
    '--control-fd=',
    '--control-fd=-1',
    '--control-fd=x',
    '--control-fd=99999',
  ]) {
    t.throws(() => parseProxyArguments([word, host, '22']), { code: 'bad-usage' }, word);
  }
});

t.test('every setting can be given as a flag', async (t) => {
  t.match(parseProxyArguments(['--ping-interval=10s', '--log-level', 'debug', host, '22']).flags, {
    'ping-interval': '10s',
    'log-level': 'debug',
  });
});

t.test('a word that the configuration file may know is left for it, anything else is refused', async (t) => {
  t.match(parseProxyArguments(['db', '22']), { host: undefined, operands: { host: 'db' } });
  for (const word of ['a b', 'a/b', 'a;id', '.', 'a\n', 'ü']) {
    t.throws(() => parseProxyArguments([word, '22']), { code: 'bad-host' }, JSON.stringify(word));
  }
});

t.test('what looks like an option is never a host', async (t) => {
  t.throws(() => parseProxyArguments(['-oProxyCommand=x', '22']), { code: 'bad-usage', exitStatus: 2 });
  t.throws(() => parseProxyArguments(['--', '-oProxyCommand=x', '22']), { code: 'bad-host', exitStatus: 2 });
  t.throws(() => parseProxyArguments([host, '-22']), { code: 'bad-port' });
  t.throws(() => parseProxyArguments([host, '22', '-x']), { code: 'bad-user' });
});

t.test('an unknown option names the near miss', async (t) => {
  t.throws(() => parseProxyArguments(['--no-deamon', host, '22']), {
    code: 'bad-usage',
    hint: 'did you mean --no-daemon?',
  });
  t.throws(() => parseProxyArguments(['--ping-intervall=1', host, '22']), {
    code: 'bad-usage',
    hint: 'did you mean --ping-interval?',
  });
  t.throws(() => parseProxyArguments(['-x', host, '22']), { code: 'bad-usage', hint: /^usage: keyhole proxy/ });
});

t.test('too few and too many operands are refused', async (t) => {
  for (const args of [[], [host], [host, '22', 'alice', 'x'], ['--'], ['--log-level'], ['--log-level', 'debug']]) {
    t.throws(() => parseProxyArguments(args), { code: 'bad-usage', hint: /^usage: keyhole proxy/ }, args.join(' '));
  }
});
