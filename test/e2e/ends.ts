// The ways in which a person's ssh comes to its end, each with traffic at different stages. Used by ends.test.ts and by
// scripts/soak, which does it more often.
import { DescribeSessionsCommand, SSMClient } from '@aws-sdk/client-ssm';
import { type Bench, goneWithinMs, instanceId, until } from './fixture.ts';

/** What ssh is doing when its end comes. */
const doings = {
  idle: 'echo started; exec sleep 600',
  downloading: 'echo started; exec cat /dev/zero',
  uploading: 'echo started; exec cat >/dev/null',
};
const endings = ['exit', 'kill -9', 'terminal closed'] as const;

export interface Case {
  doing: keyof typeof doings;
  ending: (typeof endings)[number];
}

/** Every ending with every doing, over and over. */
export function endCase(round: number): Case {
  const names = Object.keys(doings) as Case['doing'][];
  return { doing: names[Math.floor(round / endings.length) % names.length]!, ending: endings[round % endings.length]! };
}

/** Lets ssh end; resolves with the time it took until nothing was left, and throws where that is over 3 s. */
export async function endOnce(bench: Bench, { doing, ending }: Case): Promise<number> {
  const command = ['-F', bench.config, '-tt', instanceId, ending === 'exit' ? 'echo started' : doings[doing]];
  // script(1) owns the terminal in which ssh runs; with its death the kernel hangs up.
  const ssh =
    ending === 'terminal closed'
      ? bench.start('script', ['-qec', ['ssh', ...command].map((word) => `'${word}'`).join(' '), '/dev/null'], {
          input: 'open',
        })
      : bench.start('ssh', command, { input: 'open' });
  await until(`ssh talks (${ssh.stderr()})`, () => ssh.stdout().includes('started'), 20_000);
  if (ending !== 'exit' && bench.proxies().length !== 1) {
    throw new Error(`${bench.proxies().length} processes of keyhole while ssh runs`);
  }
  if (doing === 'uploading' && ending === 'kill -9') ssh.child.stdin.write(Buffer.alloc(4_000_000, 'x\n'));
  if (ending !== 'exit') ssh.child.kill('SIGKILL');
  await new Promise((resolve) => {
    if (ssh.child.exitCode !== null || ssh.child.signalCode !== null) resolve(undefined);
    else ssh.child.once('exit', resolve);
  });
  const start = performance.now();
  await bench.gone();
  const took = performance.now() - start;
  const active = await activeSessions(bench);
  if (active.length > 0) throw new Error(`DescribeSessions shows ${active.join(', ')} after ${goneWithinMs} ms`);
  await ssh.exit;
  return took;
}

/** As anybody would see it. */
async function activeSessions({ region }: Bench): Promise<string[]> {
  const client = new SSMClient({
    region: region.region,
    endpoint: region.endpoint,
    credentials: {
      accessKeyId: region.env.AWS_ACCESS_KEY_ID!,
      secretAccessKey: region.env.AWS_SECRET_ACCESS_KEY!,
    },
  });
  const { Sessions = [] } = await client.send(new DescribeSessionsCommand({ State: 'Active' }));
  client.destroy();
  return Sessions.map(({ SessionId }) => SessionId!);
}
