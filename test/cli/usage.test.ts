import t from 'tap';
import { Terminal } from '../../src/cli/terminal.ts';
import { runByYargs } from '../../src/cli/usage.ts';
import { flagName, settings } from '../../src/settings.ts';

async function type(...argv: string[]): Promise<string> {
  let text = '';
  const terminal = new Terminal((_, written) => {
    text += written;
  });
  await runByYargs(argv, { terminal, env: {}, signal: new AbortController().signal, isCompiled: false });
  return text;
}

t.test('help is given for --help and for -h, of keyhole and of a verb', async (t) => {
  for (const args of [[], ['proxy'], ['daemon']]) t.equal(await type(...args, '-h'), await type(...args, '--help'));
  t.match(await type('-h'), /through SSM or EC2 Instance Connect\s+Endpoint/);
});

t.test('the help of proxy has every setting that it takes', async (t) => {
  const help = await type('proxy', '--help');
  t.strictSame(
    Object.keys(settings).filter((name) => !help.includes(`--${flagName(name)} `)),
    [],
  );
});

const wrong: [string[], string, string | RegExp][] = [
  [['daemn'], '"daemn" is not a verb of keyhole', 'did you mean daemon?'],
  [['prox', 'i-1', '22'], '"prox" is not a verb of keyhole', 'did you mean proxy?'],
  [['abcdefgh'], '"abcdefgh" is not a verb of keyhole', /--help lists/],
  [['-x'], '"-x" is not a verb of keyhole', /./],
  [['status', '--bogus'], 'status does not know "bogus"', /keyhole status --help/],
  [['daemon'], 'daemon: an operand is missing', /keyhole daemon --help/],
  [['daemon', 'sotp'], 'daemon: ACTION is "sotp", and must be one of start, stop, run, logs', /keyhole daemon --help/],
  [['doctor', 'one', 'two'], 'doctor takes no operand "two"', /keyhole doctor --help/],
  [['setup', '--print', '--remove'], 'setup: --remove and --print exclude each other', /keyhole setup --help/],
  // What was to be narrower must not come out wider, as where a variable of a script is empty.
  [['policy', '--user', '--account', '111122223333'], 'policy: --user needs a value', /keyhole policy --help/],
  [['policy', '--instance'], 'policy: --instance needs a value', /keyhole policy --help/],
  [['policy', '--transport'], 'policy: --transport needs a value', /keyhole policy --help/],
];

for (const [argv, message, hint] of wrong) {
  t.test(`what is wrong is named: ${argv.join(' ')}`, async (t) => {
    await t.rejects(type(...argv), { code: 'bad-usage', message, hint, exitStatus: 2 });
  });
}
