// A process of one session, for exit.test.ts: opens it through the gateway on the given port, says `open`, and ends it
// in the given way. It never calls process.exit: with anything left it would go on.
import { systemClock } from '../../src/clock.ts';
import { silent } from '../../src/log.ts';
import { NetworkWatch } from '../../src/network-watch.ts';
import { openSsmTransport } from '../../src/ssm/transport.ts';
import { Api, target } from './stage.ts';

const [port, how] = process.argv.slice(2);
const api = new Api(Number(port));
const abort = new AbortController();
const say = (line: string) => process.stdout.write(`${line}\n`);

process.once('message', () => abort.abort());
process.channel?.unref();

try {
  const transport = await openSsmTransport(
    {
      api,
      signer: { sign: async () => ({ Authorization: 'x' }) },
      clock: systemClock,
      log: silent,
      request: { target, documentName: 'AWS-StartSSHSession', parameters: { portNumber: ['22'] } },
      clientVersion: '1.2.896.0',
      streamHosts: [],
      pingIntervalMs: 25_000,
      maxPayloadBytes: 1024,
      maxMessagesPerSecond: 900,
      resumeTimeoutMs: 60_000,
      networkWatch: new NetworkWatch(systemClock),
      payloadMemory: { refusesLargePayloads: () => false, rememberRefusal: () => {} },
    },
    abort.signal,
  );
  transport.on('error', (error) => say(error.message));
  transport.on('close', () => say(`closed ${api.calls.join(' ')}`));
  transport.on('data', () => {
    if (how === 'end') transport.end('bye');
    if (how === 'destroy') transport.destroy();
  });
  transport.write('hello');
  say('open');
} catch (error) {
  say(`${(error as { code?: string }).code} ${api.calls.join(' ')}`);
}
