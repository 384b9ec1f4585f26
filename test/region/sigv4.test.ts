import { readFileSync } from 'node:fs';
import t from 'tap';
import { canonicalRequest, isSigned, type SignedRequest, verifySignature } from './sigv4.ts';

interface UpgradeVector {
  headers: Record<string, string>;
  url: string;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  region: string;
  service: string;
  time: string;
  canonicalQueryUsed: string;
  canonicalPathUsed: string;
}

interface PresignVector {
  name: string;
  inputs: { region: string; accessKeyId: string; secretAccessKey: string; sessionToken: string | null; time: string };
  url: string;
  canonicalRequest: string;
}

const golden = JSON.parse(readFileSync(new URL('../vectors/golden-messages.json', import.meta.url), 'utf8')) as {
  sigv4DataChannelUpgrade: { vectors: UpgradeVector[] };
  eicePresign: { vectors: PresignVector[] };
};

function wire(url: string, headers: Record<string, string> = {}): SignedRequest {
  const [, host, target] = /^wss:\/\/([^/]+)(\/.*)$/.exec(url)!;
  return {
    method: 'GET',
    target: target!,
    rawHeaders: ['Host', host!, ...Object.entries(headers).flat()],
    body: Buffer.alloc(0),
  };
}

function at(time: string): number {
  return Date.parse(time.replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6Z'));
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

for (const vector of golden.sigv4DataChannelUpgrade.vectors) {
  const key = {
    accessKeyId: vector.accessKeyId,
    secretAccessKey: vector.secretAccessKey,
    sessionToken: vector.sessionToken || undefined,
  };
  const given = {
    findKey: (id: string) => (id === key.accessKeyId ? key : undefined),
    region: vector.region,
    service: vector.service,
    now: at(vector.time),
  };

  t.test(
    `the reference's signature of ${vector.canonicalPathUsed}?${vector.canonicalQueryUsed} is accepted`,
    async (t) => {
      const request = wire(vector.url, vector.headers);
      t.equal(verifySignature(request, given), key);
      const [, path, query] = canonicalRequest(request, ['host']).split('\n');
      t.equal(path, vector.canonicalPathUsed);
      t.equal(query, vector.canonicalQueryUsed);
    },
  );

  t.test(`every change to the signed upgrade of ${vector.canonicalPathUsed} is refused`, async (t) => {
    const request = wire(vector.url, vector.headers);
    const refusals: [string, Partial<SignedRequest>, string][] = [
      ['another method', { method: 'POST' }, 'InvalidSignatureException'],
      [
        'another path',
        { target: request.target.replace('data-channel', 'data-channels') },
        'InvalidSignatureException',
      ],
      ['another parameter', { target: `${request.target}&x=1` }, 'InvalidSignatureException'],
      [
        'another host',
        { rawHeaders: ['Host', 'evil.example', ...request.rawHeaders.slice(2)] },
        'InvalidSignatureException',
      ],
      [
        'an unsigned x-amz header',
        { rawHeaders: [...request.rawHeaders, 'X-Amz-Extra', '1'] },
        'InvalidSignatureException',
      ],
      ['no signature', { rawHeaders: request.rawHeaders.slice(0, 2) }, 'MissingAuthenticationTokenException'],
    ];
    for (const [name, change, code] of refusals) {
      t.equal(
        codeOf(() => verifySignature({ ...request, ...change }, given)),
        code,
        name,
      );
    }
    t.equal(
      codeOf(() => verifySignature(request, { ...given, findKey: () => undefined })),
      'UnrecognizedClientException',
    );
    const other = { ...key, secretAccessKey: `${key.secretAccessKey}x` };
    t.equal(
      codeOf(() => verifySignature(request, { ...given, findKey: () => other })),
      'InvalidSignatureException',
    );
    const tokened = { ...key, sessionToken: 'ANOTHER' };
    t.equal(
      codeOf(() => verifySignature(request, { ...given, findKey: () => tokened })),
      'UnrecognizedClientException',
    );
    const expired = { ...key, expiresAt: given.now };
    t.equal(
      codeOf(() => verifySignature(request, { ...given, findKey: () => expired })),
      'ExpiredTokenException',
    );
    t.equal(
      codeOf(() => verifySignature(request, { ...given, region: 'eu-central-2' })),
      'InvalidSignatureException',
    );
    t.equal(
      codeOf(() => verifySignature(request, { ...given, service: 'ssm' })),
      'InvalidSignatureException',
    );
  });

  t.test(
    `the signature of ${vector.canonicalPathUsed} holds five minutes either way and no second longer`,
    async (t) => {
      const request = wire(vector.url, vector.headers);
      for (const [offset, code] of [
        [300_000, 'none'],
        [301_000, 'InvalidSignatureException'],
        [-300_000, 'none'],
        [-301_000, 'InvalidSignatureException'],
      ] as const) {
        t.equal(
          codeOf(() => verifySignature(request, { ...given, now: given.now + offset })),
          code,
          `${offset} ms`,
        );
      }
    },
  );
}

for (const { name, inputs, url, canonicalRequest: expected } of golden.eicePresign.vectors) {
  t.test(`the presigned URL ${name} is accepted for its minute`, async (t) => {
    const key = { ...inputs, sessionToken: inputs.sessionToken ?? undefined };
    const given = { findKey: () => key, region: inputs.region, service: 'ec2-instance-connect', now: at(inputs.time) };
    const request = wire(url);
    t.ok(isSigned(request));
    t.equal(canonicalRequest(request, ['host']), expected);
    t.equal(verifySignature(request, given), key);
    t.equal(
      codeOf(() => verifySignature(request, { ...given, now: given.now + 60_000 })),
      'none',
    );
    t.equal(
      codeOf(() => verifySignature(request, { ...given, now: given.now + 61_000 })),
      'InvalidSignatureException',
    );
    const moved = { ...request, target: request.target.replace(/remotePort=\d+/, 'remotePort=23') };
    t.equal(
      codeOf(() => verifySignature(moved, given)),
      'InvalidSignatureException',
    );
  });
}
