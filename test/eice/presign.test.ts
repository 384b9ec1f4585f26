import t from 'tap';
import { presignTunnel } from '../../src/eice/presign.ts';
import golden from '../vectors/golden-messages.json' with { type: 'json' };

interface Vector {
  name: string;
  url: string;
  inputs: {
    region: string;
    accessKeyId: string;
    secretAccessKey: string;
    sessionToken: string | null;
    time: string;
    dnsName: string;
    instanceConnectEndpointId: string;
    remotePort: number;
    privateIpAddress: string;
    maxTunnelDuration: number | null;
  };
}

const vectors = golden.eicePresign.vectors as Vector[];

function millisecondsOf(time: string): number {
  return Date.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}

async function presign({ inputs }: Vector, changed: Partial<Vector['inputs']> = {}): Promise<string> {
  const given = { ...inputs, ...changed };
  const { region, accessKeyId, secretAccessKey, sessionToken, time, dnsName, maxTunnelDuration } = given;
  return await presignTunnel(
    { ...given, authority: dnsName, maxTunnelDuration: maxTunnelDuration ?? undefined },
    {
      region,
      credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== null && { sessionToken }) },
      awsTime: millisecondsOf(time),
    },
  );
}

t.equal(vectors.length, 3);

for (const vector of vectors) {
  t.test(`${vector.name}: the URL is the reference's, byte for byte`, async (t) => {
    t.equal(`wss://${vector.inputs.dnsName}${await presign(vector)}`, vector.url);
  });
}

t.test('the signature covers the authority with its port, every parameter and the token', async (t) => {
  const vector = vectors[1]!;
  const signature = async (changed: Partial<Vector['inputs']> = {}) =>
    /X-Amz-Signature=([0-9a-f]{64})$/.exec(await presign(vector, changed))![1]!;
  const all = await Promise.all([
    signature(),
    signature({ dnsName: `${vector.inputs.dnsName}:8443` }),
    signature({ remotePort: 3389 }),
    signature({ privateIpAddress: '10.0.1.24' }),
    signature({ maxTunnelDuration: 3599 }),
    signature({ sessionToken: 'ANOTHER' }),
    signature({ instanceConnectEndpointId: 'eice-1' }),
    signature({ time: '20260102T030406Z' }),
  ]);
  t.equal(new Set(all).size, all.length);
});

t.test('a token is encoded as the canonical query has it', async (t) => {
  const url = await presign(vectors[1]!, { sessionToken: "a!'()*~ b" });
  t.match(url, '&X-Amz-Security-Token=a%21%27%28%29%2A~%20b&');
});
