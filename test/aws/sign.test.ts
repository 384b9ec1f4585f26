import { readFileSync } from 'node:fs';
import t from 'tap';
import { upgradeSigner } from '../../src/aws/sign.ts';

interface Vector {
  url: string;
  time: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  headers: Record<string, string>;
}

const golden = JSON.parse(readFileSync(new URL('../vectors/golden-messages.json', import.meta.url), 'utf8'));
const vectors: Vector[] = golden.sigv4DataChannelUpgrade.vectors;

/** `20260102T030405Z` → milliseconds since 1970. */
function parseTime(time: string): number {
  return Date.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}

function signerFor({ region, time, accessKeyId, secretAccessKey, sessionToken }: Vector) {
  const credentials = { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
  return upgradeSigner({ region, credentials: async () => credentials, awsTime: () => parseTime(time) });
}

t.test('upgrades are signed byte for byte as the reference signs them', async (t) => {
  t.equal(vectors.length, 3);
  for (const vector of vectors) {
    t.strictSame(await signerFor(vector).sign(vector.url), vector.headers, vector.url);
  }
});

t.test('the port counts as part of the host, unless it is the usual one', async (t) => {
  const [vector] = vectors;
  const usual = await signerFor(vector!).sign(vector!.url.replace('.com/', '.com:443/'));
  t.strictSame(usual, vector!.headers);
  const other = await signerFor(vector!).sign(vector!.url.replace('.com/', '.com:8443/'));
  t.not(other.Authorization, vector!.headers.Authorization);
});

t.test('a presigned URL gets no header', async (t) => {
  const [vector] = vectors;
  t.strictSame(await signerFor(vector!).sign(`${vector!.url}&X-Amz-Signature=00&X-Amz-Expires=60`), {});
  t.not(Object.keys(await signerFor(vector!).sign(`${vector!.url}&X-Amz-Other=1`)).length, 0);
});

t.test('every signature asks for the credentials of the moment', async (t) => {
  const [vector] = vectors;
  let asked = 0;
  const signer = upgradeSigner({
    region: 'eu-west-1',
    credentials: async () => ({ accessKeyId: `AKID${++asked}`, secretAccessKey: 'x' }),
    awsTime: () => 0,
  });
  t.match((await signer.sign(vector!.url)).Authorization, /Credential=AKID1\/19700101\/eu-west-1\/ssmmessages\//);
  t.match((await signer.sign(vector!.url)).Authorization, /Credential=AKID2\//);
});
