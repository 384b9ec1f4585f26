// How this context's calls get to AWS: which certificate authorities are believed, and through which proxy, for the API
// and the websocket alike. HTTPS_PROXY and NO_PROXY are the caller's own, so process.env is not read here.
import type { ClientRequest, Agent as NodeAgent } from 'node:http';
import { Agent as HttpAgent } from 'node:http';
import type { AgentOptions } from 'node:https';
import { Agent, type AgentConnectOpts } from 'agent-base';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { ConfigError } from '../errors.ts';
import { ReadyAgent, type ReadyOptions } from './ready-agent.ts';
import type { ProxySettings } from './resolution.ts';

export interface Network {
  /** For plain HTTP, which there is on loopback only. */
  http: NodeAgent;
  /** For HTTPS and secure websockets: direct or through the proxy, as the host asked for has it. */
  https: NodeAgent;
  /** For a URL: `ws:` and `http:` are plain. */
  agentFor(url: URL): NodeAgent;
  /** A connection to there will be wanted in a moment; nothing is done where a proxy is in between. */
  prepare(url: URL): void;
  /** Closes the connections that are kept for later. */
  forgetIdle(): void;
  close(): void;
}

/** @throws ConfigError `bad-proxy` */
export function makeNetwork(
  { https: proxy, no }: ProxySettings,
  ca: string[] | undefined,
  ready: ReadyOptions,
): Network {
  const options = { keepAlive: true, ...(ca && { ca }) };
  const http = new HttpAgent({ keepAlive: true });
  const direct = new ReadyAgent(options, ready);
  const proxied = proxy === undefined ? undefined : new HttpsProxyAgent(parseProxy(proxy), options);
  const isDirect = (host: string, port: number) => proxied === undefined || bypassesProxy(no, host, port);
  const route = (host: string, port: number) => (isDirect(host, port) ? direct : proxied!);
  const https = proxied === undefined ? direct : new RoutedAgent(options, route);
  const portOf = ({ port }: URL) => Number(port || 443);
  return {
    http,
    https,
    agentFor(url) {
      if (isPlain(url)) return http;
      // A websocket's host is told by AWS; the API keeps its connections alive itself.
      if (url.protocol === 'wss:') direct.expect(hostOf(url), portOf(url));
      return https;
    },
    prepare(url) {
      if (!isPlain(url) && isDirect(url.hostname, portOf(url))) direct.prepare(hostOf(url), portOf(url));
    },
    forgetIdle() {
      direct.forgetReady();
      const idle = [http, direct, proxied].flatMap((agent) => Object.values(agent?.freeSockets ?? {}).flat());
      for (const socket of idle) socket?.destroy();
    },
    close() {
      for (const agent of [http, direct, proxied]) agent?.destroy();
    },
  };
}

function isPlain({ protocol }: URL): boolean {
  return protocol === 'ws:' || protocol === 'http:';
}

/** As an http request has it: an IPv6 address without brackets. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** Hands each request to the agent for its host. */
class RoutedAgent extends Agent {
  readonly #route: (host: string, port: number) => NodeAgent;

  /** @param options go into every request: HttpsProxyAgent keeps none for the connection behind the proxy */
  constructor(options: AgentOptions, route: (host: string, port: number) => NodeAgent) {
    super(options);
    this.#route = route;
  }

  override async connect(_request: ClientRequest, { host, port }: AgentConnectOpts): Promise<NodeAgent> {
    return this.#route(host ?? '', Number(port));
  }
}

/** A proxy without scheme is an HTTP proxy, as curl and the AWS CLI take it. */
function parseProxy(text: string): URL {
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (url !== null && /^https?:$/.test(url.protocol) && url.hostname !== '') return url;
  // Not shown: it may hold a password.
  throw new ConfigError('bad-proxy', 'HTTPS_PROXY is not the URL of an HTTP proxy', {
    hint: 'it has the form http://[USER:PASSWORD@]HOST:PORT',
  });
}

/**
 * Whether NO_PROXY names the host: `*`, or a list of hosts and domains, each perhaps with a port. A domain stands for its
 * subdomains too, with or without a dot before it (as curl, Go and Python have it).
 */
export function bypassesProxy(noProxy: string | undefined, host: string, port: number): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, '');
  return (noProxy ?? '')
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      if (entry === '') return false;
      if (entry === '*') return true;
      const [, bracketed, plain, wantedPort] =
        /^(?:\[([^\]]+)\]|([^:]*|[^:]*:[^:]*:.*?))(?::(\d+))?$/.exec(entry) ?? [];
      if (wantedPort !== undefined && Number(wantedPort) !== port) return false;
      const domain = (bracketed ?? plain ?? entry).replace(/^\*?\./, '');
      return name === domain || name.endsWith(`.${domain}`);
    });
}
