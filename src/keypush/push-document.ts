// The SSM document that an administrator makes once, so that people may push keys without being allowed to run anything
// else as root: `keyhole policy --push-document` prints it.
import { type CommandDocument, commandDocument } from '../aws/command-document.ts';
import { pushPatterns, pushScript } from './push-script.ts';

/** @param users the only ones for whom keys are taken; everybody where it is empty */
export function pushDocument(users: readonly string[] = []): CommandDocument {
  // Parameters are put in as text. The agent's ENV_VAR would do without, but only a new agent (3.3.2746) knows it, and an
  // older one would put the value in where the new one puts a variable; the patterns hold for all.
  const only = users.length === 0 ? pushPatterns.user.source : `^(${users.map(literally).join('|')})$`;
  return commandDocument({
    description: 'Lets an ssh-ed25519 key log in for a short while (keyhole)',
    parameters: {
      user: { type: 'String', description: 'Login name', allowedPattern: only },
      key: { type: 'String', description: 'Base64 of the public key', allowedPattern: pushPatterns.key.source },
      seconds: { type: 'String', description: 'How long it is good', allowedPattern: pushPatterns.seconds.source },
    },
    name: 'pushKey',
    script: pushScript,
  });
}

function literally(name: string): string {
  return name.replace(/[.]/g, '\\.');
}
