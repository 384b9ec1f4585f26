// The first message of a leg: TEXT, JSON (protocol.md 2.3). ClientId and, where no minimum is set, ClientVersion may be
// missing, as third-party clients leave them out and work.
export interface OpenDataChannel {
  tokenValue: string;
  clientId: string | undefined;
  clientVersion: string | undefined;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const version = /^\d{1,6}(\.\d{1,6}){2,3}$/;

/** The message, or in words what is wrong with it. */
export function parseOpenDataChannel(text: string, minimumClientVersion: string | undefined): OpenDataChannel | string {
  const fields = parseObject(text);
  if (fields === undefined) return 'not a JSON object';
  const { MessageSchemaVersion, RequestId, TokenValue, ClientId, ClientVersion } = fields;
  if (MessageSchemaVersion !== '1.0') return 'MessageSchemaVersion is not "1.0"';
  if (typeof RequestId !== 'string' || !uuid.test(RequestId)) return 'RequestId is not a UUID';
  if (typeof TokenValue !== 'string' || TokenValue === '') return 'TokenValue is missing';
  if (ClientId !== undefined && (typeof ClientId !== 'string' || !uuid.test(ClientId))) return 'ClientId is not a UUID';
  if (ClientVersion !== undefined && (typeof ClientVersion !== 'string' || !version.test(ClientVersion))) {
    return 'ClientVersion is not a version';
  }
  if (minimumClientVersion !== undefined) {
    if (ClientVersion === undefined) return 'ClientVersion is missing';
    if (older(ClientVersion, minimumClientVersion)) return `ClientVersion is below ${minimumClientVersion}`;
  }
  return { tokenValue: TokenValue, clientId: ClientId, clientVersion: ClientVersion };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function older(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number)) as [number[], number[]];
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
