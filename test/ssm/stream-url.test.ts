import t from 'tap';
import { checkStreamUrl, isPresigned, likelyGateway } from '../../src/ssm/stream-url.ts';

const aws = new URL('https://ssm.us-east-1.amazonaws.com');
const path = '/v1/data-channel/alice@example.com-0123?role=publish_subscribe&cell-number=AAEAATf2ktZ+bscw/Vmu=';
const refused = { name: 'ProtocolError', code: 'stream-url-refused' };

function check(streamUrl: string, apiEndpoint: URL = aws, allowedHosts: string[] = []): string {
  return checkStreamUrl(streamUrl, { apiEndpoint, allowedHosts }).hostname;
}

t.test("AWS's hosts are believed, in all partitions and forms", async (t) => {
  for (const host of [
    'ssmmessages.us-east-1.amazonaws.com',
    'ssmmessages-fips.us-gov-west-1.amazonaws.com',
    'ssmmessages.ap-southeast-5.amazonaws.com',
    'ssmmessages.cn-north-1.amazonaws.com.cn',
    'ssmmessages.eusc-de-east-1.amazonaws.eu',
    'ssmmessages.us-isob-east-1.sc2s.sgov.gov',
    'ssmmessages.eu-west-1.api.aws',
    'vpce-0123456789abcdef0-abcdefgh.ssmmessages.us-east-1.vpce.amazonaws.com',
    'vpce-0123456789abcdef0-abcdefgh-us-east-1a.ssmmessages.us-east-1.vpce.amazonaws.com',
  ]) {
    t.equal(check(`wss://${host}${path}`), host);
  }
});

t.test('no other host is', async (t) => {
  for (const host of [
    'example.com',
    'amazonaws.com',
    'ssmmessages.amazonaws.com',
    'ssm.us-east-1.amazonaws.com',
    'ssmmessages.us-east-1.amazonaws.com.example.com',
    'ssmmessages.us-east-1.amazonaws.com.',
    'xssmmessages.us-east-1.amazonaws.com',
    'evil.ssmmessages.us-east-1.amazonaws.com',
    'ssmmessages.us-east-1xamazonaws.com',
    'ssmmessages.us-east-1.amazonaws.com:8443',
    'ssmmessages.us-east-1.s3.amazonaws.com',
    'ssmmessages.us-east-1.vpce.amazonaws.com',
    'vpce-1.execute-api.us-east-1.vpce.amazonaws.com',
    '10.0.0.1',
    '169.254.169.254',
    '[fd00:ec2::254]',
    'user@ssmmessages.us-east-1.amazonaws.com',
    'ssmmessages.us-east-1.amazonaws.com@example.com',
    'ssmmessages.us-east-1.amazonaws.com\\@example.com',
    'ssmmessages.us-east-1.amazonaws.com#.example.com@',
  ]) {
    if (host.includes('#')) t.equal(check(`wss://${host}${path}`), 'ssmmessages.us-east-1.amazonaws.com');
    else t.throws(() => check(`wss://${host}${path}`), refused, host);
  }
});

t.test('only a websocket over TLS', async (t) => {
  for (const scheme of ['ws', 'https', 'http', 'file', 'javascript']) {
    t.throws(() => check(`${scheme}://ssmmessages.us-east-1.amazonaws.com${path}`), refused, scheme);
  }
  for (const text of ['', 'x', '//ssmmessages.us-east-1.amazonaws.com/', 'wss://'])
    t.throws(() => check(text), refused);
});

t.test('loopback and ws:// are for an API that is on loopback itself', async (t) => {
  const hosts = ['localhost', '127.0.0.1', '127.8.9.10', '[::1]', 'ssmmessages.us-east-1.localhost'];
  for (const host of hosts) {
    for (const scheme of ['ws', 'wss']) {
      t.throws(() => check(`${scheme}://${host}:8443${path}`), refused, host);
      for (const api of ['http://127.0.0.1:1234', 'https://localhost:4566', 'http://[::1]:1', 'http://ssm.localhost']) {
        t.equal(check(`${scheme}://${host}:8443${path}`, new URL(api)), host);
      }
    }
  }
  t.throws(() => check(`ws://example.com${path}`, new URL('http://localhost')), refused);
  t.throws(() => check(`wss://localhost.example.com${path}`, new URL('http://localhost')), refused);
  t.throws(() => check(`wss://127.0.0.1.example.com${path}`, new URL('http://localhost')), refused);
});

t.test('hosts that the user allows are believed, but not without TLS', async (t) => {
  const allowed = ['ssmmessages.corp.example', '*.vpc.example'];
  t.equal(check(`wss://ssmmessages.corp.example:8443${path}`, aws, allowed), 'ssmmessages.corp.example');
  t.equal(check(`wss://a.b.vpc.example${path}`, aws, allowed), 'a.b.vpc.example');
  for (const host of ['vpc.example', 'xvpc.example', 'a.ssmmessages.corp.example']) {
    t.throws(() => check(`wss://${host}${path}`, aws, allowed), refused, host);
  }
  t.throws(() => check(`ws://ssmmessages.corp.example${path}`, aws, allowed), refused);
});

t.test(
  'characters that a parser would leave out or rewrite are refused: they would go into the request line',
  async (t) => {
    const good = `wss://ssmmessages.us-east-1.amazonaws.com${path}`;
    for (const bad of ['\r\nX-Evil: 1', '\n', '\t', ' ', '\0', '\\', 'é', '\u2028', '\x7f']) {
      for (const text of [good + bad, good.replace('/v1', `/${bad}v1`), bad + good]) {
        t.throws(() => check(text), refused, encodeURIComponent(text));
      }
    }
  },
);

t.test('the reason names the host, never the query', async (t) => {
  try {
    check('wss://example.com/v1/x?X-Amz-Signature=secret');
    t.fail('not refused');
  } catch (error) {
    t.match(String(error), /example\.com is not a Session Manager host/);
    t.notMatch(String(error), /secret/);
  }
});

t.test('a URL with any parameter of a signature is presigned', async (t) => {
  const url = (query: string) => new URL(`wss://ssmmessages.us-east-1.amazonaws.com/v1/x?role=y${query}`);
  t.equal(isPresigned(url('')), false);
  t.equal(isPresigned(url('&cell-number=X-Amz-Signature')), false);
  for (const name of ['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders', 'Signature', 'Security-Token']) {
    t.equal(isPresigned(url(`&X-Amz-${name}=1`)), true, name);
  }
});

t.test('where a StreamUrl will lead is known for the endpoints that AWS documents', async (t) => {
  for (const [api, gateway] of [
    ['https://ssm.eu-west-1.amazonaws.com', 'ssmmessages.eu-west-1.amazonaws.com'],
    ['https://ssm.cn-north-1.amazonaws.com.cn/', 'ssmmessages.cn-north-1.amazonaws.com.cn'],
    ['https://ssm.eu-west-1.api.aws', 'ssmmessages.eu-west-1.api.aws'],
    ['https://vpce-0123456789abcdef0-abcdefgh.ssm.eu-west-1.vpce.amazonaws.com', undefined],
    ['http://ssm.eu-west-1.amazonaws.com', undefined],
    ['https://ssm.eu-west-1.amazonaws.com:8443', undefined],
    ['https://localhost:4566', undefined],
  ] as const) {
    const url = likelyGateway(new URL(api));
    t.equal(url?.hostname, gateway, api);
    if (url !== undefined)
      t.equal(check(`${url.origin.replace('https', 'wss')}${path}`), gateway, 'and would be believed');
  }
});
