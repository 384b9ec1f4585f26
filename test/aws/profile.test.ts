import t from 'tap';
import { findEndpoint, findProfile, findRegion } from '../../src/aws/profile.ts';
import { useAwsSettings } from './aws-files.ts';

const config = `
[default]
region = eu-north-1
[profile Prod]
region = eu-west-1
[profile twin]
output = json
[profile TWIN]
output = json
`;

t.test('the profile is the one named, else that of the environment, else default', async (t) => {
  useAwsSettings(t, { config }, { AWS_PROFILE: 'twin' });
  t.match(await findProfile('Prod'), { name: 'Prod', explicit: true, values: { region: 'eu-west-1' } });
  t.match(await findProfile(undefined), { name: 'twin', explicit: false });
  delete process.env.AWS_PROFILE;
  t.match(await findProfile(undefined), { name: 'default', explicit: false, values: { region: 'eu-north-1' } });
});

t.test('a name that ssh has lower-cased finds its profile, unless two differ in case only', async (t) => {
  useAwsSettings(t, { config });
  t.match(await findProfile('prod'), { name: 'Prod' });
  t.match(await findProfile('twin'), { name: 'twin' });
  await t.rejects(findProfile('Twin'), { code: 'profile-unknown' });
});

t.test('a profile of the environment is not matched in another case', async (t) => {
  useAwsSettings(t, { config }, { AWS_PROFILE: 'prod' });
  await t.rejects(findProfile(undefined), { code: 'profile-unknown', hint: /did you mean Prod\?/ });
});

t.test('no files at all are no error as long as no profile is named', async (t) => {
  useAwsSettings(
    t,
    {},
    { AWS_CONFIG_FILE: '/nonexistent/config', AWS_SHARED_CREDENTIALS_FILE: '/nonexistent/credentials' },
  );
  t.match(await findProfile(undefined), { name: 'default', values: {} });
  await t.rejects(findProfile('prod'), { code: 'profile-unknown', message: /prod/ });
});

t.test('the region is the one named, else that of the environment, else that of the profile', async (t) => {
  useAwsSettings(t, { config }, { AWS_REGION: 'us-east-1', AWS_DEFAULT_REGION: 'us-east-2' });
  const profile = await findProfile('Prod');
  t.equal(findRegion('ap-south-1', profile), 'ap-south-1');
  t.equal(findRegion(undefined, profile), 'us-east-1');
  process.env.AWS_REGION = '';
  t.equal(findRegion(undefined, profile), 'us-east-2', 'as the aws command reads it');
  delete process.env.AWS_DEFAULT_REGION;
  t.equal(findRegion(undefined, profile), 'eu-west-1');
});

t.test('no region is an error that says where to name one, and a bad one never becomes a host name', async (t) => {
  useAwsSettings(t, {});
  const profile = await findProfile(undefined);
  t.throws(() => findRegion(undefined, profile), { code: 'no-region', hint: /AWS_REGION/ });
  process.env.AWS_REGION = 'evil.example/#';
  t.throws(() => findRegion(undefined, profile), { code: 'no-region', message: /evil/ });
});

t.test('the endpoint is that of the environment, else of the service, else of the profile', async (t) => {
  const config = `
[profile p]
services = mine
endpoint_url = http://all.example
[profile q]
endpoint_url = not a url
[services mine]
ssm =
  endpoint_url = http://ssm.example
`;
  useAwsSettings(
    t,
    { config },
    { AWS_ENDPOINT_URL: 'http://env.example', AWS_ENDPOINT_URL_SSM: 'http://env-ssm.example' },
  );
  const profile = await findProfile('p');
  t.equal(findEndpoint('ssm', profile), 'http://env-ssm.example');
  delete process.env.AWS_ENDPOINT_URL_SSM;
  t.equal(findEndpoint('ssm', profile), 'http://env.example');
  delete process.env.AWS_ENDPOINT_URL;
  t.equal(findEndpoint('ssm', profile), 'http://ssm.example');
  t.equal(findEndpoint('ssm', { ...profile, services: {} }), 'http://all.example');
  process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS = 'true';
  t.equal(findEndpoint('ssm', profile), undefined);
  delete process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS;
  const bad = await findProfile('q');
  t.throws(() => findEndpoint('ssm', bad), { code: 'bad-endpoint', message: /not a url/ });
});
