// Which way a key is pushed, by the setting `push`.
import type { AwsContext } from '../aws/context.ts';
import type { Pusher } from '../aws/pusher.ts';
import type { Settings } from '../settings.ts';
import { ssmPusher } from './ssm-push.ts';

/** Undefined where no key is pushed: it is turned off, or the target is none of EC2 Instance Connect's (mi-*). */
export function choosePusher(
  target: string,
  { push, pushLifetimeMs: validMs }: Pick<Settings, 'push' | 'pushLifetimeMs'>,
  { pusher, commands }: Pick<AwsContext, 'pusher' | 'commands'>,
): Pusher | undefined {
  if (push === 'off') return undefined;
  if (push === 'instance-connect') return pusher(target);
  const documentName = push === 'ssm-shell' ? undefined : push.slice('ssm-document:'.length);
  return ssmPusher({ commands, target, documentName, validMs });
}
