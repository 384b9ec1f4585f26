// What the completions know by heart is what --help says; and each shell takes its script.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { completion, type shells, verbs } from '../../src/cli/completion.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { runByYargs } from '../../src/cli/usage.ts';

async function print(run: (context: Parameters<typeof completion>[1]) => unknown): Promise<string> {
  let text = '';
  const terminal = new Terminal((_fd, part) => {
    text += part;
  });
  await run({ terminal, env: {}, signal: new AbortController().signal, isCompiled: false });
  return text;
}

const help = (...verb: string[]) => print((context) => runByYargs([...verb, '--help'], context));
const has = (shell: string) => spawnSync(shell, ['-c', 'exit 0']).status === 0;

async function scriptFile(t: Test, shell: (typeof shells)[number]): Promise<{ home: string; script: string }> {
  const home = t.testdir({ '.ssh': { keyhole: {} } });
  writeFileSync(
    join(home, '.ssh/keyhole/hosts'),
    'Host web-1.ec2\n    HostName i-01234567\nHost $(touch bad)\nHost *\n',
  );
  mkdirSync(join(home, '.local/state/keyhole'), { recursive: true });
  writeFileSync(join(home, '.local/state/keyhole/hosts'), 'db-1.ec2\n');
  const script = join(home, 'script');
  writeFileSync(script, await print((context) => completion(shell, context)));
  return { home, script };
}

t.test('verbs and options are those of --help', async (t) => {
  const inHelp = [...(await help()).matchAll(/^ {2}keyhole ([a-z-]+)/gm)].map(([, verb]) => verb!);
  t.strictSame(verbs.map(({ name }) => name).sort(), inHelp.sort());
  for (const { name, options, operand } of verbs) {
    // Settings stand in ssh's configuration, not on a command line that somebody types.
    const text = (await help(name)).replace(/^Settings:\n(?: .*\n)+/m, '');
    const said = [...text.matchAll(/^ {2,6}(?:-\w, )?--(?:\[no-\])?([a-z-]+)/gm)].map(([, option]) => option!);
    const known = options.map((option) => option.replace(/=$/, ''));
    const expected = said.filter((option) => option !== 'help' && option !== 'version');
    t.strictSame(
      [...new Set(known.map((option) => option.replace(/^no-/, '')))].sort(),
      expected.sort(),
      `options of ${name}`,
    );
    t.equal(operand === 'host', /^ {2,}HOST /m.test(text), `whether ${name} takes a host`);
  }
});

t.test('bash', { skip: !has('bash') && 'bash is not here' }, async (t) => {
  const { home, script } = await scriptFile(t, 'bash');
  const complete = (...words: string[]) => {
    const line = `source '${script}'; COMP_WORDS=(keyhole ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _keyhole; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', line], {
      encoding: 'utf8',
      cwd: home,
      env: { HOME: home, PATH: process.env.PATH },
    });
    t.equal(stderr, '');
    return stdout.trim().split('\n');
  };
  t.strictSame(complete('st'), ['status']);
  t.strictSame(complete('daemon', 'st'), ['start', 'stop']);
  t.strictSame(complete('setup', '--dr'), ['--dry-run']);
  t.strictSame(
    complete('why', ''),
    ['--json', '--help', 'web-1.ec2', 'db-1.ec2'],
    'names, and nothing that a shell would run',
  );
});

t.test('fish', { skip: !has('fish') && 'fish is not here' }, async (t) => {
  const { home, script } = await scriptFile(t, 'fish');
  const complete = (line: string) => {
    const env = { HOME: home, PATH: process.env.PATH };
    const { stdout } = spawnSync('fish', ['-c', `source '${script}'; complete -C '${line}'`], {
      encoding: 'utf8',
      env,
    });
    return stdout
      .trim()
      .split('\n')
      .map((found) => found.split('\t')[0]);
  };
  t.strictSame(complete('keyhole st'), ['status']);
  t.strictSame(complete('keyhole why ').sort(), ['db-1.ec2', 'web-1.ec2']);
  t.strictSame(complete('keyhole setup --dr'), ['--dry-run']);
});

t.test('zsh', { skip: !has('zsh') && 'zsh is not here' }, async (t) => {
  const { home, script } = await scriptFile(t, 'zsh');
  // compadd works only within a widget; what is handed to it can be seen.
  const line = `compdef() { :; }; source '${script}'; compadd() { print -l -- \${(P)2}; }; _keyhole_hosts`;
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', line], {
    encoding: 'utf8',
    env: { HOME: home, PATH: process.env.PATH },
  });
  t.match({ stdout, stderr }, { stdout: 'web-1.ec2\ndb-1.ec2\n', stderr: '' });
});
