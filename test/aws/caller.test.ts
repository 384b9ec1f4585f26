import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  loginFilesStamp,
  settingsWithoutSecrets,
  sharedFilesStamp,
  surroundingsKey,
  wholeSurroundingsKey,
} from '../../src/aws/caller.ts';

const caller = { env: { HOME: '/home/u', AWS_PROFILE: 'prod', PATH: '/bin' }, cwd: '/work' };

t.test('callers whose AWS settings agree share them, whatever else differs', async (t) => {
  const key = surroundingsKey(caller, {});
  const { HOME, AWS_PROFILE, PATH } = caller.env;
  t.equal(surroundingsKey({ env: { PATH, AWS_PROFILE, HOME }, cwd: '/work' }, {}), key, 'in another order');
  t.equal(surroundingsKey({ env: { ...caller.env, EDITOR: 'vi', SHLVL: '3' }, cwd: '/elsewhere' }, {}), key);
  t.match(key, /^[0-9a-f]{32}$/);
});

t.test('callers that differ in anything that decides do not', async (t) => {
  const keys = [
    surroundingsKey(caller, {}),
    surroundingsKey(caller, { region: 'eu-west-1' }),
    surroundingsKey(caller, { profile: 'eu-west-1' }),
    ...[
      { AWS_PROFILE: 'dev' },
      { AWS_ACCESS_KEY_ID: 'AKIA' },
      { AWS_SESSION_TOKEN: 'x' },
      { HOME: '/root' },
      { PATH: '/opt/bin:/bin' },
      { HTTPS_PROXY: 'http://proxy' },
      { no_proxy: '*' },
      { AWS_SOMETHING_NEW: '1' },
    ].map((env) => surroundingsKey({ env: { ...caller.env, ...env }, cwd: '/work' }, {})),
  ];
  t.equal(new Set(keys).size, keys.length);
});

t.test('names and values can not be taken for one another', async (t) => {
  const one = surroundingsKey({ env: { AWS_A: 'x","AWS_B","y' }, cwd: '/' }, {});
  const two = surroundingsKey({ env: { AWS_A: 'x', AWS_B: 'y' }, cwd: '/' }, {});
  t.not(one, two);
});

t.test('a file named relatively is another one in another folder', async (t) => {
  for (const name of [
    'AWS_CONFIG_FILE',
    'AWS_SHARED_CREDENTIALS_FILE',
    'AWS_CA_BUNDLE',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
  ]) {
    const keyIn = (cwd: string, file: string) => surroundingsKey({ env: { [name]: file }, cwd }, {});
    t.not(keyIn('/a', 'aws.ini'), keyIn('/b', 'aws.ini'), name);
    t.equal(keyIn('/a', '/aws.ini'), keyIn('/b', '/aws.ini'), name);
  }
});

t.test('what a program may look at is everything but the noise of a shell', async (t) => {
  const keyOf = (env: Record<string, string>, cwd = '/work') =>
    wholeSurroundingsKey({ env: { ...caller.env, ...env }, cwd }, {});
  const key = keyOf({});
  for (const noise of ['SHLVL', '_', 'TERM', 'PWD', 'OLDPWD', 'COLUMNS', 'WINDOWID', 'SSH_TTY']) {
    t.equal(keyOf({ [noise]: '1' }), key, noise);
  }
  for (const name of ['VAULT_TOKEN', 'SSH_AUTH_SOCK', 'GNUPGHOME', 'X']) t.not(keyOf({ [name]: '1' }), key, name);
  t.not(keyOf({}, '/elsewhere'), key);
});

t.test('the stamp changes with the files that the caller means', async (t) => {
  const home = t.testdir({ '.aws': { config: 'a', credentials: 'b' }, other: 'c' });
  const stampOf = (env: Record<string, string> = {}, cwd = '/') =>
    sharedFilesStamp({ env: { HOME: home, ...env }, cwd });
  const before = stampOf();
  t.equal(stampOf(), before);

  const time = new Date(2026, 0, 1);
  writeFileSync(join(home, '.aws/credentials'), 'B');
  const written = stampOf();
  t.not(written, before);
  utimesSync(join(home, '.aws/credentials'), time, time);
  const dated = stampOf();
  writeFileSync(join(home, '.aws/credentials'), 'C');
  utimesSync(join(home, '.aws/credentials'), time, time);
  t.not(stampOf(), dated, 'a file of the same size, with its old date put back');

  const relative = { AWS_CONFIG_FILE: 'other' };
  const there = stampOf(relative, home);
  t.not(there, stampOf(relative, '/'), 'a relative name is taken from the folder of the caller');
  writeFileSync(join(home, 'other'), 'cc');
  t.not(stampOf(relative, home), there);
  t.equal(stampOf({ AWS_CONFIG_FILE: '' }), stampOf(), 'an empty name is none');
});

t.test('a file that appears changes the stamp; one that can not be looked at is as if it were not there', async (t) => {
  const home = t.testdir({ '.aws': {} });
  const before = sharedFilesStamp({ env: { HOME: home }, cwd: '/' });
  writeFileSync(join(home, '.aws/config'), '');
  t.not(sharedFilesStamp({ env: { HOME: home }, cwd: '/' }), before);
  t.type(sharedFilesStamp({ env: { HOME: '/nonexistent' }, cwd: '/' }), 'string');
  t.type(sharedFilesStamp({ env: {}, cwd: '/' }), 'string');
});

t.test('a login changes the stamp of logins, and nothing else of the folder does', async (t) => {
  const home = t.testdir({});
  const at = { env: { HOME: home }, cwd: '/' };
  const before = loginFilesStamp(at);
  mkdirSync(join(home, '.aws', 'sso', 'cache'), { recursive: true });
  t.equal(loginFilesStamp(at), before);
  const token = join(home, '.aws', 'sso', 'cache', 'token.json');
  writeFileSync(token, 'one');
  const first = loginFilesStamp(at);
  t.not(first, before);
  writeFileSync(join(home, '.aws', 'config'), '');
  t.equal(loginFilesStamp(at), first);
  writeFileSync(token, 'another'); // in place, as the aws command does
  t.not(loginFilesStamp(at), first);
  t.equal(loginFilesStamp({ env: { HOME: '/nowhere' }, cwd: '/' }), '');
});

t.test('a successor is left names and no secret, or nothing', async (t) => {
  const env = { HOME: '/home/u', PATH: '/bin', AWS_PROFILE: 'prod', AWS_REGION: 'eu-west-1', EDITOR: 'vi', TOKEN: 'x' };
  t.strictSame(settingsWithoutSecrets(env), {
    HOME: '/home/u',
    PATH: '/bin',
    AWS_PROFILE: 'prod',
    AWS_REGION: 'eu-west-1',
  });
  for (const secret of [
    { AWS_ACCESS_KEY_ID: 'AKIA' },
    { AWS_SECRET_ACCESS_KEY: 'x' },
    { AWS_SESSION_TOKEN: 'x' },
    { AWS_CONTAINER_AUTHORIZATION_TOKEN: 'x' },
    { AWS_SOMETHING_NEW: 'x' },
    { HTTPS_PROXY: 'http://user:password@proxy:3128' },
    { AWS_ENDPOINT_URL: 'https://user:password@endpoint' },
  ]) {
    t.equal(settingsWithoutSecrets({ ...env, ...secret }), undefined, Object.keys(secret)[0]!);
  }
  t.match(settingsWithoutSecrets({ HTTPS_PROXY: 'http://proxy:3128' }), { HTTPS_PROXY: 'http://proxy:3128' });
});
