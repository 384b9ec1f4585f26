import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { knownHostsLines, knownHostsName, replaceName } from '../../src/hostkeys/known-hosts.ts';
import { generateKeyPair } from '../region/sshd/key-pair.ts';

const newKey = () => {
  const [type, base64] = generateKeyPair().public.split(' ') as [string, string];
  return { type, base64 };
};
const id = 'i-0123456789abcdef0';

t.test('the name is that by which ssh looks', async (t) => {
  t.equal(knownHostsName(id, 22), id);
  t.equal(knownHostsName(id, 2222), `[${id}]:2222`);
  t.equal(knownHostsName('Web-1.ec2', 22), 'web-1.ec2');
});

t.test('lines of the name are replaced where they were, others stay byte for byte', async (t) => {
  const [one, two] = [knownHostsLines('web', [newKey(), newKey()], 'i-1'), knownHostsLines('web', [newKey()], 'i-2')];
  t.equal(replaceName('', 'web', one), one);
  t.equal(replaceName(one, 'web', one), one, 'again');
  const others = [
    '# web\n',
    'web2 ssh-ed25519 AAAA\n',
    '@revoked web ssh-ed25519 AAAA\n',
    '\n',
    'x*,!web ssh-rsa A\xff\n',
  ];
  const text = others[0] + others[1]! + one + others.slice(2).join('');
  t.equal(replaceName(text, 'web', two), others[0] + others[1]! + two + others.slice(2).join(''));
  t.equal(replaceName('a b c', 'web', two), `a b c\n${two}`, 'a last line without its end');
  const port = knownHostsLines('[web]:2222', [newKey()], 'i-1');
  t.equal(replaceName(one + port, 'web', two), two + port, 'another port is another name');
});

t.test('no other line speaks for the name any more', async (t) => {
  const line = knownHostsLines('web', [newKey()], 'i-1');
  t.equal(replaceName('web ssh-ed25519 AAAA\nWEB ssh-ed25519 BBBB\n', 'web', line), line);
  t.equal(replaceName('web,10.0.0.1 ssh-ed25519 AAAA own\n', 'web', line), `10.0.0.1 ssh-ed25519 AAAA own\n${line}`);
});

t.test('names that ssh has hashed are found', async (t) => {
  if (spawnSync('ssh-keygen', ['-?']).error !== undefined) return t.comment('no ssh-keygen');
  const file = join(t.testdir(), 'known_hosts');
  const other = 'other ssh-ed25519 ';
  const [mine, theirs] = [newKey(), newKey()];
  writeFileSync(
    file,
    `web ssh-ed25519 ${mine.base64}\n[web]:2222 ssh-ed25519 ${mine.base64}\n${other}${theirs.base64}\n`,
  );
  execFileSync('ssh-keygen', ['-q', '-H', '-f', file], { stdio: 'ignore' });
  const hashed = readFileSync(file, 'utf8');
  t.match(hashed, /^\|1\|/);
  const rest = hashed.split('\n');
  const line = knownHostsLines('web', [newKey()], 'i-1');
  t.equal(replaceName(hashed, 'web', line), [line.trimEnd(), ...rest.slice(1)].join('\n'));
  t.equal(replaceName(hashed, '[web]:2222', line), [rest[0], line.trimEnd(), ...rest.slice(2)].join('\n'));
});

t.test('ssh-keygen finds what was written', async (t) => {
  if (spawnSync('ssh-keygen', ['-?']).error !== undefined) return t.comment('no ssh-keygen');
  const file = join(t.testdir(), 'known_hosts');
  const key = newKey();
  writeFileSync(file, replaceName('x ssh-ed25519 AAAA\n', `[${id}]:2222`, knownHostsLines(`[${id}]:2222`, [key], id)));
  const found = execFileSync('ssh-keygen', ['-F', `[${id}]:2222`, '-f', file], { encoding: 'utf8' });
  t.match(found, `${key.type} ${key.base64}`);
});
