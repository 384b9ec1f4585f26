// What is read without the SDK is what the SDK would have given; and nothing is read that it would have got elsewhere.
import t from 'tap';
import { findCredentials } from '../../src/aws/credentials.ts';
import { fixedCredentials } from '../../src/aws/fixed-credentials.ts';
import { findProfile } from '../../src/aws/profile.ts';
import { parseResolution, serializeResolution } from '../../src/aws/resolution.ts';
import { resolveAws, resolveFixed } from '../../src/aws/resolve.ts';
import type { Credentials } from '../../src/aws/ssm-api.ts';
import { useAwsSettings } from './aws-files.ts';

const own = { AWS_ACCESS_KEY_ID: 'AKIAENV', AWS_SECRET_ACCESS_KEY: 'env secret' };
const keys = 'aws_access_key_id = AKIAFILE\naws_secret_access_key = file/secret+=\n';

interface Case {
  config?: string;
  credentials?: string;
  env?: Record<string, string>;
  /** As a host's suffix names it. */
  profile?: string;
}

const fixed: Record<string, Case> = {
  'keys in the environment': { env: own },
  'with a token': { env: { ...own, AWS_SESSION_TOKEN: 'token' } },
  'with an end': { env: { ...own, AWS_SESSION_TOKEN: 'token', AWS_CREDENTIAL_EXPIRATION: '2030-01-02T03:04:05Z' } },
  'with what is no time as an end': { env: { ...own, AWS_CREDENTIAL_EXPIRATION: 'soon' } },
  'with an empty token': { env: { ...own, AWS_SESSION_TOKEN: '' } },
  'with account and scope': { env: { ...own, AWS_ACCOUNT_ID: '123456789012', AWS_CREDENTIAL_SCOPE: 'eu-west-1' } },
  'keys in the environment before those of default': { env: own, credentials: `[default]\n${keys}` },
  'keys in the environment before a role of default': {
    env: own,
    config: '[default]\nrole_arn = arn:aws:iam::1:role/r',
  },
  'keys of default': { credentials: `[default]\n${keys}` },
  'keys of default in the other file': { config: `[default]\n${keys}` },
  'keys in both files': {
    config: '[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n',
    credentials: `[default]\n${keys}`,
  },
  'a key in each file': {
    config: '[default]\naws_secret_access_key = other\n',
    credentials: '[default]\naws_access_key_id = AKIAHALF\n',
  },
  'keys with a token': { credentials: `[default]\n${keys}aws_session_token = a token of words\n` },
  'keys of a profile that the environment names': { env: { AWS_PROFILE: 'lab' }, credentials: `[lab]\n${keys}` },
  'keys of a profile that the host names': { profile: 'lab', credentials: `[lab]\n${keys}` },
  'keys of a profile that the host names, before the environment': {
    profile: 'lab',
    env: own,
    config: `[profile lab]\nregion = eu-west-2\n${keys}`,
  },
  'keys with spaces, comments and other settings around them': {
    credentials: `# c\n[default]\n${keys.replace(/ = /g, '=  ')}  ; c\ns3 =\n  max_concurrent_requests = 1\naws_account_id = 1\n`,
  },
  'half of the keys in the environment, all in the file': {
    env: { AWS_ACCESS_KEY_ID: 'AKIAENV' },
    credentials: `[default]\n${keys}`,
  },
};

for (const [name, settings] of Object.entries(fixed)) {
  t.test(`as the SDK would have them: ${name}`, async (t) => {
    useAwsSettings(t, settings, settings.env);
    const profile = await findProfile(settings.profile);
    const found = fixedCredentials(profile);
    const asked = findCredentials(profile, 'eu-west-1');
    t.equal(found?.profile, asked.profile, 'by the same name');
    t.strictSame(sent(found!.credentials), sent(await asked.provide()));
  });
}

const elsewhere: Record<string, Case> = {
  'nothing at all': {},
  'half of the keys': { credentials: '[default]\naws_access_key_id = AKIAFILE\n' },
  'an empty key in the environment': { env: { ...own, AWS_ACCESS_KEY_ID: '' } },
  'a role, whose profile has keys too': {
    config: `[default]\n${keys}role_arn = arn:aws:iam::1:role/r\nsource_profile = x`,
  },
  'a program beside keys': { config: `[default]\n${keys}credential_process = /bin/false` },
  'SSO beside keys': { config: `[default]\n${keys}sso_session = s` },
  'a token file beside keys': { config: `[default]\n${keys}web_identity_token_file = /t` },
  'a container': { env: { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://127.0.0.1/c' } },
};

for (const [name, settings] of Object.entries(elsewhere)) {
  t.test(`left to whom the SDK asks: ${name}`, async (t) => {
    useAwsSettings(t, settings, { AWS_REGION: 'eu-west-1', ...settings.env });
    t.equal(fixedCredentials(await findProfile(settings.profile)), undefined);
    t.equal(await resolveFixed({}), undefined);
  });
}

t.test('all settings with them are those that a child would find', async (t) => {
  const config = `[profile lab]\n${keys}region = eu-west-2\nca_bundle = /ca.pem\nuse_fips_endpoint = true\nservices = s
[services s]\nssm =\n  endpoint_url = https://ssm.example\n`;
  useAwsSettings(t, { config }, { HTTPS_PROXY: 'http://proxy:3128', no_proxy: 'localhost' });
  const here = await resolveFixed({ profile: 'LAB' });
  t.match(here, {
    profile: 'lab',
    region: 'eu-west-2',
    credentialSource: 'lab',
    asksProgram: false,
    endpoints: { ssm: 'https://ssm.example' },
    fips: true,
    caBundle: '/ca.pem',
    proxy: { https: 'http://proxy:3128', no: 'localhost' },
  });
  t.strictSame(here, (await resolveAws({ profile: 'LAB' })).resolution);
});

t.test('what is wrong is told as by the child', async (t) => {
  useAwsSettings(t, { config: '[profile prod]\noutput = json\n' }, own);
  await t.rejects(resolveFixed({ profile: 'prd' }), { code: 'profile-unknown', hint: /did you mean prod/ });
  await t.rejects(resolveFixed({}), { code: 'no-region' });
  await t.rejects(resolveFixed({ region: 'not a region' }), { code: 'no-region' });
});

/** What the daemon gets of them. */
function sent(credentials: Credentials): Credentials {
  const rest = { credentialSource: undefined, asksProgram: false, endpoints: {}, fips: false, dualstack: false };
  const settings = {
    profile: 'p',
    region: 'r',
    caBundle: undefined,
    extraCa: undefined,
    proxy: { https: undefined, no: undefined },
  };
  return parseResolution(serializeResolution({ ...rest, ...settings, credentials })).credentials;
}
