import fc from 'fast-check';
import t from 'tap';
import { parseResolution, type Resolution, serializeResolution } from '../../src/aws/resolution.ts';
import { ProtocolError } from '../../src/errors.ts';

const resolution: Resolution = {
  profile: 'prod',
  region: 'eu-west-1',
  credentials: {
    accessKeyId: 'AKIAX',
    secretAccessKey: 'secret',
    sessionToken: 'token',
    expiration: new Date('2026-05-06T07:08:09Z'),
  },
  credentialSource: 'prod',
  asksProgram: true,
  endpoints: { ssm: 'https://ssm.example' },
  fips: true,
  dualstack: false,
  caBundle: '/etc/ca.pem',
  extraCa: '/etc/extra.pem',
  proxy: { https: 'http://proxy:3128', no: 'localhost' },
};
const least: Resolution = {
  profile: 'default',
  region: 'eu-west-1',
  credentials: { accessKeyId: 'AKIAX', secretAccessKey: 'secret' },
  credentialSource: undefined,
  asksProgram: false,
  endpoints: {},
  fips: false,
  dualstack: false,
  caBundle: undefined,
  extraCa: undefined,
  proxy: { https: undefined, no: undefined },
};

t.test('settings arrive as they were sent, as text in between', async (t) => {
  for (const sent of [resolution, least]) {
    t.strictSame(parseResolution(JSON.parse(JSON.stringify(serializeResolution(sent)))), sent);
  }
});

t.test('the text is that of credential_process, with one more member', async (t) => {
  const { Keyhole: _, ...rest } = serializeResolution(resolution);
  t.strictSame(rest, {
    Version: 1,
    AccessKeyId: 'AKIAX',
    SecretAccessKey: 'secret',
    SessionToken: 'token',
    Expiration: '2026-05-06T07:08:09.000Z',
  });
});

t.test('settings without key, secret, profile or region are refused without being quoted', async (t) => {
  const whole = serializeResolution(resolution);
  const { AccessKeyId: _a, ...noKey } = whole;
  const { SecretAccessKey: _s, ...noSecret } = whole;
  const { Keyhole: _k, ...noSettings } = whole;
  for (const body of [
    {},
    noKey,
    noSecret,
    noSettings,
    { ...whole, AccessKeyId: '' },
    { ...whole, SecretAccessKey: 7 },
  ]) {
    try {
      parseResolution(body);
      t.fail('taken');
    } catch (error) {
      t.match(error, { code: 'bad-resolution' });
      t.notMatch((error as Error).message, /secret|token|AKIAX/);
    }
  }
});

t.test('an end of the credentials that is no date is none', async (t) => {
  const { credentials } = parseResolution({ ...serializeResolution(resolution), Expiration: 'tomorrow' });
  t.equal(credentials.expiration, undefined);
});

t.test('any object leads to settings or a ProtocolError', async () => {
  const whole = serializeResolution(resolution);
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(whole)), fc.jsonValue(), (key, value) => {
      try {
        parseResolution({ ...whole, [key]: value });
        return true;
      } catch (error) {
        return error instanceof ProtocolError;
      }
    }),
  );
});
