// The verbs that a person types, with help: yargs reads them. `proxy` comes here only to be explained.
import yargs from 'yargs';
import { UsageError } from '../errors.ts';
import { version } from '../version.ts';
import { proxyUsage } from './proxy.ts';
import type { VerbContext } from './run.ts';

export async function runByYargs(argv: string[], { terminal }: VerbContext): Promise<void> {
  const parser = yargs()
    .scriptName('keyhole')
    .usage('$0 VERB\n\nLets plain OpenSSH reach EC2 instances and hybrid nodes through SSM.')
    .command(
      'proxy <HOST> <PORT> [USER]',
      'what ssh runs as ProxyCommand: connects stdin and stdout with a port of the host',
      (proxy) =>
        proxy
          .usage(proxyUsage)
          .positional('HOST', { type: 'string', describe: 'i-… or mi-…, then optionally .REGION and .PROFILE' })
          .positional('PORT', { type: 'number', describe: 'port on the host' })
          .positional('USER', { type: 'string', describe: 'login name' })
          .option('daemon', { type: 'boolean', default: true, describe: 'use the daemon; --no-daemon does without' }),
    )
    .demandCommand(1, 'no verb is given')
    .strict()
    .exitProcess(false)
    .version(version)
    .detectLocale(false)
    .wrap(100);
  await new Promise<void>((resolve, reject) => {
    parser.parse(argv, {}, (error: Error | undefined, _arguments: unknown, output: string) => {
      if (error) reject(new UsageError('bad-usage', error.message, { hint: 'keyhole --help lists the verbs' }));
      else if (output === '') reject(new UsageError('bad-usage', `usage: ${proxyUsage}`));
      else resolve(terminal.print(output));
    });
  });
}
