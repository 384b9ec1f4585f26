// Where AWS has a target's public host keys from, by the setting `host_keys`: a command of the SSM agent on the node, or what
// cloud-init wrote to the console of an EC2 instance when it first started.
import type { AwsContext } from '../aws/context.ts';
import { AwsError, KeyholeError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { type HostKey, parseConsoleKeys, parseHostKeys } from './host-key.ts';
import { hostKeysScript } from './host-keys-document.ts';

export type HostKeySource = Exclude<Settings['hostKeys'], 'off'>;
export type HostKeyApis = Pick<AwsContext, 'commands' | 'ec2'>;

/** @throws KeyholeError `host-keys-unknown`; AwsError; as CommandApi.run */
export async function fetchHostKeys(
  target: string,
  source: HostKeySource,
  { commands, ec2 }: HostKeyApis,
  signal: AbortSignal,
): Promise<HostKey[]> {
  if (source === 'console-output') return await fromConsole(target, ec2);
  const what =
    source === 'ssm-shell'
      ? { documentName: 'AWS-RunShellScript', parameters: { commands: hostKeysScript.trimEnd().split('\n') } }
      : { documentName: source.slice('ssm-document:'.length), parameters: {} };
  const keys = parseHostKeys(await commands.run({ target, ...what, comment: 'keyhole: public host keys' }, signal));
  if (keys.length > 0) return keys;
  throw unknown(`${what.documentName} printed no host key of ${target}`, {
    hint: 'keyhole policy --host-keys-document prints the document that is needed; the node must run Linux and OpenSSH',
  });
}

async function fromConsole(target: string, ec2: HostKeyApis['ec2']): Promise<HostKey[]> {
  if (!target.startsWith('i-')) {
    throw unknown(`${target} has no console at AWS to learn its host keys from`, {
      hint: 'for nodes (mi-…) the setting host_keys has to be ssm-document:NAME or ssm-shell',
    });
  }
  // As of now, if the instance can do that; else, and where the block has been pushed out of it, as of the last start.
  for (const latest of [true, false]) {
    const keys = parseConsoleKeys(await consoleOutput(target, latest, ec2));
    if (keys.length > 0) return keys;
  }
  throw unknown(`the console of ${target} shows no host keys`, {
    hint: 'cloud-init writes them at the first start, and EC2 keeps the last 64 KB; the setting host_keys has other sources',
  });
}

async function consoleOutput(target: string, latest: boolean, ec2: HostKeyApis['ec2']): Promise<string> {
  try {
    return await ec2.consoleOutput(target, latest);
  } catch (error) {
    // Only Nitro has it as of now.
    if (latest && error instanceof AwsError && error.apiCode === 'UnsupportedOperation') return '';
    throw error;
  }
}

function unknown(message: string, details: { hint: string }): KeyholeError {
  return new KeyholeError('host-keys-unknown', message, details);
}
