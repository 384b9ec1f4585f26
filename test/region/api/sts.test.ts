// Asked by AWS's own signer and without a client: the SDK's for STS is not among the dependencies.
import { createHash, createHmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import t from 'tap';
import { clientConfig, startStand } from '../fixture.ts';
import type { Region } from '../region.ts';

async function getCallerIdentity(region: Region, accessKeyId: string, secretAccessKey?: string) {
  const { credentials } = clientConfig(region, accessKeyId);
  const url = new URL(region.endpoint);
  const signer = new SignatureV4({
    service: 'sts',
    region: region.region,
    credentials: { ...credentials, ...(secretAccessKey && { secretAccessKey }) },
    sha256: Sha256,
  });
  const request = {
    method: 'POST',
    protocol: url.protocol,
    hostname: url.hostname,
    path: '/',
    query: {},
    headers: { host: url.host, 'content-type': 'application/x-www-form-urlencoded' },
    body: 'Action=GetCallerIdentity&Version=2011-06-15',
  };
  const { headers } = await signer.sign(request);
  const response = await fetch(region.endpoint, { method: 'POST', headers, body: request.body });
  return { status: response.status, text: await response.text() };
}

class Sha256 {
  readonly #hash;

  constructor(secret?: unknown) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as Uint8Array);
  }

  update(chunk: unknown): void {
    this.#hash.update(chunk as Uint8Array);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {}
}

t.test('GetCallerIdentity says who signed', async (t) => {
  const { region } = await startStand(t, {
    accessKeys: [
      { accessKeyId: 'AKID', secretAccessKey: 's', policies: [] },
      {
        accessKeyId: 'ASIA',
        secretAccessKey: 's',
        sessionToken: 'token',
        account: '999999999999',
        arn: 'arn:aws:sts::999999999999:assumed-role/Dev/me@example.com',
      },
    ],
  });
  const user = await getCallerIdentity(region, 'AKID');
  t.match(user, { status: 200, text: /<GetCallerIdentityResult><UserId>AIDA\w+<\/UserId><Account>111122223333</ });
  t.match(user.text, '<Arn>arn:aws:iam::111122223333:user/alice</Arn></GetCallerIdentityResult>');
  const role = await getCallerIdentity(region, 'ASIA');
  t.match(role.text, /<UserId>AROA\w+:me@example.com<\/UserId><Account>999999999999</);
  t.match(region.requests, [
    { service: 'sts', action: 'GetCallerIdentity', accessKeyId: 'AKID' },
    { service: 'sts', action: 'GetCallerIdentity', arn: 'arn:aws:sts::999999999999:assumed-role/Dev/me@example.com' },
  ]);
});

t.test('credentials that are no good are refused in the words of STS', async (t) => {
  const { region } = await startStand(t, { accessKeys: [{ accessKeyId: 'AKID', secretAccessKey: 's' }] });
  t.match(await getCallerIdentity(region, 'AKID', 'wrong'), {
    status: 403,
    text: /<ErrorResponse .*<Code>SignatureDoesNotMatch<\/Code>/,
  });
  region.identities.find('AKID')!.expiresAt = 0;
  t.match(await getCallerIdentity(region, 'AKID'), { status: 403, text: /<Code>ExpiredToken<\/Code>/ });
});
