// Credentials that cannot be had, each by the SDK's own way to them: which code and which advice come of it (issue 6).
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { MfaCode } from '../../src/aws/credentials.ts';
import { resolveAws } from '../../src/aws/resolve.ts';
import { KeyholeError } from '../../src/errors.ts';
import type { RegionOptions } from '../region/options.ts';
import { startRegion } from '../region/region.ts';
import { useAwsSettings } from './aws-files.ts';

const sso = `[sso-session corp]
sso_start_url = https://corp.example/start
sso_region = eu-west-1
[profile dev]
region = eu-west-1
sso_session = corp
sso_account_id = 111122223333
sso_role_name = Dev
[profile admin]
region = eu-west-1
role_arn = arn:aws:iam::111122223333:role/Admin
source_profile = dev
`;

/** An access token as the aws command leaves it, of SHA-1 of the session's name. */
function writeToken(folder: string, expiresAt: string): void {
  const cache = join(folder, '.aws/sso/cache');
  mkdirSync(cache, { recursive: true });
  const token = { startUrl: 'https://corp.example/start', region: 'eu-west-1', accessToken: 'HIDDEN', expiresAt };
  writeFileSync(join(cache, `${createHash('sha1').update('corp').digest('hex')}.json`), JSON.stringify(token));
}

const program = (script: string) => `[profile p]\nregion = eu-west-1\ncredential_process = sh -c "${script}"\n`;
const table: { name: string; config: string; profile: string; token?: string; is: object }[] = [
  {
    name: 'an SSO login that never was',
    config: sso,
    profile: 'dev',
    is: { code: 'sso-expired', hint: 'aws sso login --profile dev' },
  },
  {
    name: 'an SSO login that has ended',
    config: sso,
    profile: 'dev',
    token: '2020-01-01T00:00:00Z',
    is: { code: 'sso-expired', message: 'the SSO login of profile dev is missing or has expired' },
  },
  {
    name: 'a role behind an SSO login: the login is that of the profile behind it',
    config: sso,
    profile: 'admin',
    is: { code: 'sso-expired', hint: 'aws sso login --profile dev' },
  },
  {
    name: 'an SSO login of the older form',
    config:
      '[profile old]\nregion = eu-west-1\nsso_start_url = https://x.example\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = r\n',
    profile: 'old',
    is: { code: 'sso-expired', hint: 'aws sso login --profile old' },
  },
  {
    name: 'a console login that never was',
    config: '[profile c]\nregion = eu-west-1\nlogin_session = arn:aws:iam::111122223333:user/alice\n',
    profile: 'c',
    is: { code: 'login-expired', hint: 'aws login --profile c' },
  },
  {
    name: 'a credential_process that fails: the first line that it says on stderr',
    config: program('echo >&2; echo vault is sealed >&2; echo HIDDEN >&2; exit 3'),
    profile: 'p',
    is: { code: 'credential-process-failed', message: 'the credential_process of profile p failed: vault is sealed' },
  },
  {
    name: 'one that says nothing',
    config: program('exit 3'),
    profile: 'p',
    is: { code: 'credential-process-failed', message: /failed: it ended with an error and said nothing$/ },
  },
  {
    name: 'one that does not exist',
    config: '[profile p]\nregion = eu-west-1\ncredential_process = /nowhere/at-all HIDDEN\n',
    profile: 'p',
    is: { code: 'credential-process-failed', message: /not found/ },
  },
  {
    name: 'one that writes to the terminal',
    config: program("printf 'a\\\\033[2Jb' >&2; exit 1"),
    profile: 'p',
    is: { code: 'credential-process-failed', message: 'the credential_process of profile p failed: a [2Jb' },
  },
  {
    name: 'one whose answer is none',
    config: program('echo HIDDEN'),
    profile: 'p',
    is: { code: 'credential-process-failed', message: /invalid JSON/ },
  },
  {
    name: 'a role with MFA, and nobody to be asked',
    config:
      '[profile m]\nregion = eu-west-1\nrole_arn = arn:aws:iam::111122223333:role/A\nmfa_serial = arn:aws:iam::111122223333:mfa/a\nsource_profile = base\n[profile base]\naws_access_key_id = A\naws_secret_access_key = s\n',
    profile: 'm',
    is: { code: 'mfa-needed', message: /profile m /, hint: /from a terminal/ },
  },
  {
    name: 'no region',
    config: '[profile n]\naws_access_key_id = A\naws_secret_access_key = s\n',
    profile: 'n',
    is: { code: 'no-region', hint: /AWS_REGION/ },
  },
  {
    name: 'a profile without credentials',
    config: '[profile e]\nregion = eu-west-1\n',
    profile: 'e',
    is: { code: 'no-credentials', message: /profile e/ },
  },
];

for (const { name, config, profile, token, is } of table) {
  t.test(name, async (t) => {
    const folder = useAwsSettings(t, { config }, { AWS_EC2_METADATA_DISABLED: 'true' });
    process.env.HOME = folder;
    if (token !== undefined) writeToken(folder, token);
    const error = (await resolveAws({ profile }).catch((failure: unknown) => failure)) as KeyholeError;
    t.ok(error instanceof KeyholeError);
    t.match(error, is);
    t.notMatch(`${error.message}${error.hint}`, /HIDDEN/);
    t.notMatch(`${error.message}${error.hint}`, /\p{Cc}/u, 'nothing that could control a terminal');
  });
}

const roleArn = 'arn:aws:iam::111122223333:role/Admin';
const serial = 'arn:aws:iam::111122223333:mfa/alice';

/** A role that wants a code of the device. */
async function assume(t: Test, mfaCode: MfaCode, options: RegionOptions = {}) {
  const region = await startRegion({ roles: { [roleArn]: { mfa: { serial, codes: ['123456'] } } }, ...options });
  t.teardown(() => region.stop());
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...env } = region.env;
  const config = `[profile admin]
role_arn = ${roleArn}
source_profile = base
mfa_serial = ${serial}
[profile base]
aws_access_key_id = ${AWS_ACCESS_KEY_ID}
aws_secret_access_key = ${AWS_SECRET_ACCESS_KEY}
`;
  useAwsSettings(t, { config }, env);
  return { region, resolved: resolveAws({ profile: 'admin' }, mfaCode) };
}

t.test('a role with MFA is assumed with the code that is asked for', async (t) => {
  const asked: string[] = [];
  const { resolved, region } = await assume(t, async (device) => {
    asked.push(device);
    return '123456';
  });
  const { credentials } = (await resolved).resolution;
  t.strictSame(asked, [serial]);
  t.match(credentials, { accessKeyId: /^ASIA/, sessionToken: /./ });
  t.ok(credentials.expiration!.getTime() > Date.now());
  t.match(region.identities.find(credentials.accessKeyId)?.arn, /assumed-role\/Admin\//);
});

t.test('a code that AWS does not take, and a role that it does not give, are said as such', async (t) => {
  const wrong = await assume(t, async () => '000000');
  await t.rejects(wrong.resolved, { code: 'mfa-refused', message: /MFA code for profile admin/, hint: /next one/ });
  const denied = await assume(t, async () => '123456', { denials: [{ action: 'sts:AssumeRole' }] });
  await t.rejects(denied.resolved, {
    code: 'access-denied',
    message:
      /^AWS denies sts:AssumeRole on arn:aws:iam::111122223333:role\/Admin to arn:aws:iam::111122223333:user\/alice/,
    hint: /its policy must allow sts:AssumeRole/,
  });
});
