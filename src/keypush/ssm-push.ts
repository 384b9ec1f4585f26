// Pushing a key by a command of the SSM agent: to nodes (mi-*), and to instances where EC2 Instance Connect is not
// installed. The values are checked before anything is sent (push-script.ts); the push has succeeded when the script says so.
import type { CommandApi } from '../aws/command-api.ts';
import type { Pusher } from '../aws/pusher.ts';
import { KeyholeError } from '../errors.ts';
import { type PushValues, pushScriptFor, pushValues } from './push-script.ts';

export interface SsmPushOptions {
  commands: CommandApi;
  /** `i-…` or `mi-…`. */
  target: string;
  /** Document of push-document.ts, by name or ARN; undefined: AWS-RunShellScript with the same script. */
  documentName: string | undefined;
  /** How long the node takes the key, by its own clock. */
  validMs: number;
}

export function ssmPusher({ commands, target, documentName, validMs }: SsmPushOptions): Pusher {
  return {
    validMs,
    async push(publicKey, user, signal) {
      const values = pushValues(publicKey, user, validMs);
      const comment = `keyhole: key for ${user}`;
      const request = { target, comment, ...(documentName === undefined ? asShell(values) : asDocument(values)) };
      const output = await commands.run({ documentName: documentName ?? shellDocument, ...request }, signal);
      // A document that skips its step, for another system than Linux, succeeds too.
      if (!output.includes(`keyhole: the key of ${user} is good`)) throw notPushed(target, documentName);
    },
  };
}

const shellDocument = 'AWS-RunShellScript';

function asDocument(values: PushValues) {
  return { parameters: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]])) };
}

function asShell(values: PushValues) {
  return { parameters: { commands: pushScriptFor(values).trimEnd().split('\n'), executionTimeout: ['60'] } };
}

function notPushed(target: string, documentName = shellDocument): KeyholeError {
  return new KeyholeError('push-failed', `${documentName} ran on ${target}, but did not say that it let the key in`, {
    hint: 'is it the document that keyhole policy --push-document prints, and does the node run Linux?',
  });
}
