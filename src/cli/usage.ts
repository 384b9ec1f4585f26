// The verbs that a person types, with help: yargs reads them. `proxy` comes here only to be explained.
import yargs from 'yargs';
import { KeyholeError, UsageError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { flagName, settings } from '../settings.ts';
import { forwardingGrammar } from '../target/forwarding.ts';
import { version } from '../version.ts';
import { verbs } from './completion.ts';
import { proxyUsage } from './proxy-arguments.ts';
import type { VerbContext } from './run.ts';

export async function runByYargs(argv: string[], context: VerbContext): Promise<void> {
  let verb: (() => Promise<void>) | undefined;
  const parser = yargs()
    .scriptName('keyhole')
    .usage(
      '$0 VERB\n\nLets plain OpenSSH reach EC2 instances and hybrid nodes, through SSM or EC2 Instance Connect Endpoint.',
    )
    .command(
      'proxy <HOST> <PORT> [USER]',
      'what ssh runs as ProxyCommand: connects stdin and stdout with a port of the host',
      (proxy) => {
        for (const [name, { about }] of Object.entries(settings)) {
          proxy.option(flagName(name), { type: 'string', describe: about, group: 'Settings:' });
        }
        return proxy
          .usage(proxyUsage)
          .positional('HOST', {
            type: 'string',
            describe: 'i-… or mi-…, then optionally .REGION and .PROFILE; or NAME.ec2',
          })
          .positional('PORT', { type: 'number', describe: 'port on the host' })
          .positional('USER', { type: 'string', describe: 'login name' })
          .option('daemon', { type: 'boolean', default: true, describe: 'use the daemon; --no-daemon does without' });
      },
    )
    .command(
      'setup',
      'makes ssh go through keyhole, by one line in ~/.ssh/config',
      (setup) =>
        setup
          .option('print', { type: 'boolean', describe: 'show the block for ssh; change nothing' })
          .option('windows', { type: 'boolean', describe: 'show the block for ssh on Windows' })
          .option('dry-run', { type: 'boolean', default: false, describe: 'show what would change' })
          .option('remove', { type: 'boolean', describe: 'take back all that was done' })
          .option('user', {
            type: 'string',
            array: true,
            describe: 'login name, or PATTERN=NAME for hosts of a pattern (default: ec2-user)',
          })
          .option('hosts', {
            type: 'string',
            array: true,
            describe: 'pattern of further host names that go through keyhole',
          })
          .option('service', {
            type: 'boolean',
            describe: 'have systemd start the daemon (default: where the user has its manager); --no-service does not',
          })
          .conflicts('remove', ['print', 'windows', 'user', 'hosts', 'service']),
      ({ print = false, windows = false, dryRun, remove, user, hosts, service }) => {
        verb = async () => {
          if (remove) return (await import('./setup-remove.ts')).removeSetup({ dryRun }, context);
          const flags = { print, windows, dryRun, users: user, patterns: hosts, service };
          await (await import('./setup.ts')).setup(flags, context);
        };
      },
    )
    .command(
      'status',
      'tunnels, traffic and key pushes of the daemon',
      (status) =>
        status
          .option('json', { type: 'boolean', default: false, describe: 'for programs' })
          .option('watch', { type: 'boolean', default: false, describe: 'again every second' }),
      ({ json, watch }) => {
        verb = async () => (await import('./status.ts')).status({ json, watch }, context);
      },
    )
    .command(
      'forward <HOST> <PORTS..>',
      'a local tunnel: listens here and leads to a port of the host, or of a machine that it reaches',
      (forward) => {
        for (const name of Object.keys(settings))
          forward.option(flagName(name), { type: 'string', requiresArg: true, hidden: true });
        return forward
          .usage('$0 forward [OPTIONS] [--] HOST [LOCAL:][RHOST:]RPORT …')
          .positional('HOST', { type: 'string', describe: 'as for ssh', demandOption: true })
          .positional('PORTS', { type: 'string', array: true, describe: forwardingGrammar, demandOption: true })
          .option('expose', { type: 'boolean', default: false, describe: 'may listen where other machines reach it' })
          .option('quiet', { alias: 'q', type: 'boolean', default: false, describe: 'no lines about connections' })
          .option('json', { type: 'boolean', default: false, describe: 'for programs' });
      },
      ({ HOST: host, PORTS: forwardings, expose, quiet, json, ...others }) => {
        const flags = settingFlags(others);
        verb = async () =>
          (await import('./forward.ts')).forward({ host, forwardings, expose, quiet, json, flags }, context);
      },
    )
    .command(
      'up [NAME..]',
      'opens local tunnels of the configuration file, which the daemon keeps; all of them without a name',
      (up) =>
        up.positional('NAME', { type: 'string', array: true, default: [], describe: 'of a table [forward.NAME]' }),
      ({ NAME: names }) => {
        verb = async () => (await import('./up.ts')).up(names, context);
      },
    )
    .command(
      'down [NAME..]',
      'ends them',
      (down) =>
        down.positional('NAME', { type: 'string', array: true, default: [], describe: 'of a table [forward.NAME]' }),
      ({ NAME: names }) => {
        verb = async () => (await import('./up.ts')).down(names, context);
      },
    )
    .command(
      'why [HOST]',
      'the last failures, with reason and remedy',
      (why) =>
        why
          .positional('HOST', { type: 'string', describe: 'only those of this host' })
          .option('json', { type: 'boolean', default: false, describe: 'for programs' }),
      ({ HOST: host, json }) => {
        verb = async () => (await import('./why.ts')).why({ host, json }, context);
      },
    )
    .command(
      'config [HOST]',
      'the settings that hold, for all hosts or for one, and where each comes from',
      (config) =>
        config
          .positional('HOST', { type: 'string', describe: 'as ssh would name it' })
          .option('json', { type: 'boolean', default: false, describe: 'for programs' }),
      ({ HOST: host, json }) => {
        verb = async () => (await import('./config.ts')).config({ host, json }, context);
      },
    )
    .command(
      'host-keys <HOST>',
      'the host keys that AWS vouches for, as known_hosts has them',
      (hostKeys) =>
        hostKeys
          .positional('HOST', { type: 'string', demandOption: true, describe: 'i-… or mi-…' })
          .option('port', { type: 'string', default: '22', describe: 'port of ssh on the host' }),
      ({ HOST: host, port }) => {
        verb = async () => (await import('./host-keys.ts')).hostKeys({ host, port }, context);
      },
    )
    .command(
      'hosts',
      'the instances and nodes of a region, and how each is reached',
      (hosts) =>
        hosts
          .option('sync', { type: 'boolean', default: false, describe: 'write their names for ssh and editors' })
          .option('region', { type: 'string', requiresArg: true, describe: 'of this region' })
          .option('profile', { type: 'string', requiresArg: true, describe: 'of this profile of the AWS settings' })
          .option('json', { type: 'boolean', default: false, describe: 'for programs' }),
      ({ sync, region, profile, json }) => {
        verb = async () => (await import('./hosts.ts')).hosts({ sync, region, profile, json }, context);
      },
    )
    .command(
      'policy',
      'what an administrator gives to AWS so that keyhole may do its work',
      (policy) => {
        for (const name of Object.keys(settings)) {
          if (!['user', 'region'].includes(name))
            policy.option(flagName(name), { type: 'string', requiresArg: true, hidden: true });
        }
        const list = { type: 'string', array: true, requiresArg: true, default: [] as string[] } as const;
        const flag = { type: 'boolean', default: false } as const;
        return policy
          .usage('$0 policy [OPTIONS] [--SETTING=VALUE …]')
          .option('user', { ...list, describe: 'only for this login name; repeatable, as are the next three' })
          .option('instance', { ...list, describe: 'only this i-… or mi-…' })
          .option('tag', { ...list, describe: 'only what has the tag, KEY=VALUE' })
          .option('address', { ...list, describe: 'only these private addresses, through an endpoint' })
          .option('region', { type: 'string', requiresArg: true, default: '*', describe: 'only in this region' })
          .option('account', { type: 'string', requiresArg: true, default: '*', describe: 'only in this account' })
          .option('names', { ...flag, describe: 'hosts are called by their Name tag' })
          .option('hosts', { ...flag, describe: 'keyhole hosts is used, and keyhole doctor in full' })
          .option('forward', { ...flag, describe: 'keyhole forward is used' })
          .option('deny-ssh', { ...flag, describe: 'the policy that denies ssh over SSM, whatever else allows it' })
          .option('push-document', { ...flag, describe: 'SSM document that pushes keys' })
          .option('host-keys-document', { ...flag, describe: 'SSM document that prints host keys' });
      },
      ({ user: users, instance: instances, tag: tags, address: addresses, ...others }) => {
        const { pushDocument, hostKeysDocument, denySsh, region, account, names, hosts, forward } = others;
        // That of the policy, and not that of a host.
        const { region: _, ...flags } = settingFlags(others);
        const wanted = { pushDocument, hostKeysDocument, denySsh, region, account, names, hosts, forward, flags };
        verb = async () =>
          (await import('./policy.ts')).policy({ ...wanted, users, instances, tags, addresses }, context);
      },
    )
    .command(
      'doctor [HOST]',
      'checks all that must hold on this machine, at AWS and on the host, and says what to do',
      (doctor) =>
        doctor
          .positional('HOST', { type: 'string', describe: 'as ssh would name it' })
          .option('json', { type: 'boolean', default: false, describe: 'for programs' }),
      ({ HOST: host, json }) => {
        verb = async () => (await import('./doctor.ts')).doctor({ host, json }, context);
      },
    )
    .command(
      'daemon <ACTION>',
      'starts, stops or runs the daemon by hand, or shows its log',
      (daemon) =>
        daemon
          .positional('ACTION', { choices: ['start', 'stop', 'run', 'logs'] as const, demandOption: true })
          .option('private', { type: 'boolean', default: false, hidden: true }),
      ({ ACTION: action, private: isPrivate }) => {
        verb = async () => {
          if (action === 'run') return (await import('./daemon-run.ts')).daemonRun({ isPrivate }, context);
          const daemon = await import('./daemon.ts');
          if (action === 'start') await daemon.daemonStart(context);
          else if (action === 'stop') await daemon.daemonStop(context);
          else await daemon.daemonLogs(context);
        };
      },
    )
    .command(
      'completion <SHELL>',
      'prints completions for bash, zsh or fish',
      (completion) => completion.positional('SHELL', { choices: ['bash', 'zsh', 'fish'] as const, demandOption: true }),
      ({ SHELL: shell }) => {
        verb = async () => (await import('./completion.ts')).completion(shell, context);
      },
    )
    .demandCommand(1, 'no verb is given')
    .strict()
    .strictCommands()
    .exitProcess(false)
    .help('help')
    .alias('help', 'h')
    .version(version)
    .detectLocale(false)
    .wrap(100);
  const output = await new Promise<string>((resolve, reject) => {
    parser.parse(withoutDashes(argv), {}, (error: Error | undefined, _arguments: unknown, text: string) => {
      if (!error) resolve(text);
      else reject(wrongUsage(error.message, argv[0]!));
    });
  });
  if (output !== '') return context.terminal.print(output);
  if (verb === undefined) throw new UsageError('bad-usage', `usage: ${proxyUsage}`);
  try {
    await verb();
  } catch (error) {
    // A signal is how `daemon run` and `status --watch` end.
    if (!(error instanceof KeyholeError) || error.code !== 'interrupted') throw error;
  }
}

/** What yargs found, in our words. */
function wrongUsage(found: string, verb: string): UsageError {
  if (!verbs.some(({ name }) => name === verb)) return noVerb(verb);
  return new UsageError('bad-usage', sayWhatIsWrong(found.replace(/\s+/g, ' '), verb), {
    hint: `keyhole ${verb} --help shows how it is used`,
  });
}

/** Messages of yargs 18; one that is not among them is quoted. */
function sayWhatIsWrong(found: string, verb: string): string {
  const [, operand] = /^Unknown commands?: ([^,]+)/.exec(found) ?? [];
  if (operand !== undefined) return `${verb} takes no operand ${JSON.stringify(operand)}`;
  const [, unknown] = /^Unknown arguments?: ([^,]+)/.exec(found) ?? [];
  if (unknown !== undefined) return `${verb} does not know ${JSON.stringify(unknown)}`;
  if (/^Not enough non-option arguments/.test(found)) return `${verb}: an operand is missing`;
  const [, bare] = /^Not enough arguments following: (\S+)/.exec(found) ?? [];
  if (bare !== undefined) return `${verb}: --${bare} needs a value`;
  const [, name, given, choices] = /^Invalid values: Argument: (\S+), Given: (.*), Choices: (.*)$/.exec(found) ?? [];
  if (name !== undefined) return `${verb}: ${name} is ${given}, and must be one of ${choices!.replaceAll('"', '')}`;
  const [, one, other] = /^Arguments (\S+) and (\S+) are mutually exclusive/.exec(found) ?? [];
  if (one !== undefined) return `${verb}: --${one} and --${other} exclude each other`;
  return `${verb}: ${found.charAt(0).toLowerCase()}${found.slice(1)}`;
}

function noVerb(verb: string): UsageError {
  const meant = nearest(
    verb,
    verbs.map(({ name }) => name),
  );
  const hint = meant === undefined ? 'keyhole --help lists the verbs' : `did you mean ${meant}?`;
  return new UsageError('bad-usage', `${JSON.stringify(verb)} is not a verb of keyhole`, { hint });
}

/** Those that were given, as text. */
function settingFlags(given: Record<string, unknown>): Record<string, string> {
  const names = new Set(Object.keys(settings).map(flagName));
  return Object.fromEntries(
    Object.entries(given).filter(
      (entry): entry is [string, string] => names.has(entry[0]) && typeof entry[1] === 'string',
    ),
  );
}

/** yargs takes what stands behind `--` for no positional. No operand of ours begins with a hyphen. */
function withoutDashes(argv: string[]): string[] {
  const at = argv.indexOf('--');
  if (at < 0) return argv;
  const operands = argv.slice(at + 1);
  const wrong = operands.find((operand) => operand.startsWith('-'));
  if (wrong !== undefined) throw new UsageError('bad-usage', `${JSON.stringify(wrong.slice(0, 80))} is not an operand`);
  return [...argv.slice(0, at), ...operands];
}
