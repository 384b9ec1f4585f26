// `keyhole policy`: what an administrator gives to AWS so that keyhole may do its work and nothing else.
import { UsageError } from '../errors.ts';
import { hostKeysDocument } from '../hostkeys/host-keys-document.ts';
import { pushDocument } from '../keypush/push-document.ts';
import { pushPatterns } from '../keypush/push-script.ts';
import type { VerbContext } from './run.ts';

export interface PolicyArguments {
  pushDocument: boolean;
  hostKeysDocument: boolean;
  /** Login names that the push document is for; everybody where there is none. */
  users: string[];
}

/** @throws UsageError `bad-usage`, `bad-user` */
export async function policy(wanted: PolicyArguments, { terminal }: VerbContext): Promise<void> {
  const documents = [
    ...(wanted.pushDocument ? [pushDocument(checkUsers(wanted.users))] : []),
    ...(wanted.hostKeysDocument ? [hostKeysDocument()] : []),
  ];
  if (documents.length !== 1) {
    throw new UsageError('bad-usage', 'either --push-document or --host-keys-document has to be given');
  }
  terminal.print(JSON.stringify(documents[0], undefined, 2));
}

function checkUsers(users: string[]): string[] {
  const wrong = users.find((user) => !pushPatterns.user.test(user));
  if (wrong === undefined) return users;
  throw new UsageError('bad-user', `${JSON.stringify(wrong)} is not a login name for which a key is pushed over SSM`, {
    hint: 'it has letters, digits, ".", "_" and "-", begins with a letter or "_", and has 32 characters at most',
  });
}
