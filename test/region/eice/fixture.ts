// For tests of the endpoints: an instance whose port 22 the test answers itself, and a client that can do everything
// wrong. It signs with AWS's JavaScript signer, which the region's verifier shares nothing with.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { SignatureV4 } from '@smithy/signature-v4';
import type { Test } from 'tap';
import { type ClientOptions, WebSocket } from 'ws';
import { instanceId, NodeSha256, startStand } from '../fixture.ts';
import type { RegionOptions } from '../options.ts';
import type { Region } from '../region.ts';

export const endpointId = 'eice-0123456789abcdef0';
export const privateIpAddress = '10.0.1.23';

/** Query parameters; undefined leaves one out. */
export type Query = Record<string, string | undefined>;

export interface Signing {
  accessKeyId?: string;
  secretAccessKey?: string;
  service?: string;
  date?: Date;
  host?: string;
  /** Changes the URL after it was signed. */
  afterwards?: (url: string) => string;
}

/** A region with one endpoint and one instance, and the connections that come to the instance's port 22. */
export async function startEiceStand(t: Test, options: RegionOptions = {}) {
  const connections: Socket[] = [];
  const server = createServer((socket) => connections.push(socket.on('error', () => {})));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const { region } = await startStand(t, {
    nodes: [{ instanceId, ports: { 22: { host: '127.0.0.1', port } } }],
    endpoints: [{ endpointId }],
    ...options,
  });
  const open = async (query: Query = {}, signing: Signing = {}) => {
    const client = await connectTunnel(region, await signTunnel(region, query, signing));
    t.teardown(() => client.socket.terminate());
    return client;
  };
  return { region, connections, open };
}

/** As a client writes it (protocol.md 9.2). */
export async function signTunnel(region: Region, query: Query = {}, signing: Signing = {}): Promise<string> {
  const accessKeyId = signing.accessKeyId ?? region.env.AWS_ACCESS_KEY_ID!;
  const key = region.identities.find(accessKeyId);
  const signer = new SignatureV4({
    service: signing.service ?? 'ec2-instance-connect',
    region: region.region,
    credentials: {
      accessKeyId,
      secretAccessKey: signing.secretAccessKey ?? key?.secretAccessKey ?? '',
      ...(key?.sessionToken === undefined ? {} : { sessionToken: key.sessionToken }),
    },
    applyChecksum: false,
    sha256: NodeSha256,
  });
  const { host, protocol } = new URL(region.endpoint);
  const wanted = { instanceConnectEndpointId: endpointId, remotePort: '22', privateIpAddress, ...query };
  const given = Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const signed = await signer.presign(
    {
      method: 'GET',
      protocol,
      hostname: host,
      path: '/openTunnel',
      query: Object.fromEntries(given),
      headers: { host: signing.host ?? host },
    },
    { expiresIn: 60, ...(signing.date === undefined ? {} : { signingDate: signing.date }) },
  );
  const text = Object.entries(signed.query as Record<string, string>).map((pair) => pair.map(encode).join('='));
  const url = `ws${protocol === 'https:' ? 's' : ''}://${host}/openTunnel?${text.join('&')}`;
  return signing.afterwards?.(url) ?? url;
}

export interface TunnelClient {
  socket: WebSocket;
  /** What came, joined. */
  readonly received: Buffer;
  /** The refusal of the upgrade; undefined where it was a 101. */
  refusal: { status: number; requestId: string; body: unknown } | undefined;
  closed: Promise<{ code: number; reason: string }>;
}

/** Resolved when the upgrade has been answered. */
export async function connectTunnel(
  region: Region,
  url: string,
  headers: Record<string, string> = {},
): Promise<TunnelClient> {
  const options: ClientOptions = { headers, perMessageDeflate: false };
  if (region.ca !== undefined) options.ca = region.ca;
  const socket = new WebSocket(url, options);
  const chunks: Buffer[] = [];
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    if (!isBinary) throw new Error('TEXT from the service');
    chunks.push(data as Buffer);
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
  });
  const refusal = await new Promise<TunnelClient['refusal']>((resolve) => {
    socket.once('open', () => resolve(undefined));
    socket.once('unexpected-response', (_request, response) => resolve(readRefusal(response)));
  });
  return {
    socket,
    get received() {
      return Buffer.concat(chunks);
    },
    refusal,
    closed,
  };
}

async function readRefusal(response: IncomingMessage): Promise<TunnelClient['refusal']> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return {
    status: response.statusCode!,
    requestId: String(response.headers['x-amzn-requestid']),
    body: JSON.parse(text),
  };
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
