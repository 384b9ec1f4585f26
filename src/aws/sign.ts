// Signs the websocket upgrade of a data channel as the Session Manager plugin does from 1.2.764.0 on
// (protocol.md 2.2): Signature Version 4 in headers, service ssmmessages, empty body. The URL itself is never
// touched: AWS wants it byte for byte.
import { SignatureV4 } from '@smithy/signature-v4';
import { Sha256 } from './sha256.ts';
import type { Credentials, UpgradeSigner } from './ssm-api.ts';

export interface UpgradeSignerOptions {
  region: string;
  /** Asked at every signature; expected to cache. */
  credentials: () => Promise<Credentials>;
  /** Milliseconds since 1970 by AWS's clock. */
  awsTime: () => number;
}

export function upgradeSigner({ region, credentials, awsTime }: UpgradeSignerOptions): UpgradeSigner {
  const signer = new SignatureV4({
    service: 'ssmmessages',
    region,
    credentials,
    sha256: Sha256,
    applyChecksum: false, // the reference sends no x-amz-content-sha256
    uriEscapePath: true,
  });
  return {
    async sign(streamUrl) {
      const url = new URL(streamUrl);
      if (isPresigned(url)) return {};
      const signed = await signer.sign(
        {
          method: 'GET',
          protocol: url.protocol,
          hostname: url.hostname,
          // The path as it is on the wire: `new URL` would already have encoded parts of it.
          path: /^wss?:\/\/[^/?#]*([^?#]*)/.exec(streamUrl)?.[1] || '/',
          // Decodes a raw `+` as a space, as the reference does ("observed", protocol.md 2.2.4).
          query: decodeQuery(url.searchParams),
          headers: { host: url.host },
        },
        { signingDate: new Date(awsTime()) },
      );
      const { authorization, 'x-amz-date': date, 'x-amz-security-token': token } = signed.headers;
      const headers: Record<string, string> = { Authorization: authorization!, 'X-Amz-Date': date! };
      if (token !== undefined) headers['X-Amz-Security-Token'] = token;
      return headers;
    },
  };
}

/** Signed by AWS already, on behalf of a service; another signature would be refused (protocol.md 2.2.1). */
function isPresigned(url: URL): boolean {
  return [...url.searchParams.keys()].some((key) => presignedParameter.test(key));
}

const presignedParameter = /^X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)$/i;

function decodeQuery(params: URLSearchParams): Record<string, string[]> {
  const query: Record<string, string[]> = {};
  for (const [key, value] of params) {
    query[key] ??= [];
    query[key].push(value);
  }
  return query;
}
