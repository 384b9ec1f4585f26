// The ssh-agent that the user's own configuration names (1Password, Secretive, gpg-agent): keyhole's stands in its place for
// keyhole's hosts, and passes on to it.
import { isAbsolute, join } from 'node:path';
import type { Applied } from './ssh.ts';

export type OwnAgent =
  /** None is named, or SSH_AUTH_SOCK: that one is found at each connection. */
  | { kind: 'usual' }
  | { kind: 'path'; path: string }
  /** It cannot be said beforehand which it is. */
  | { kind: 'unclear'; value: string };

/** What an IdentityAgent that was in effect means (ssh_config(5)). @param home from the password database */
export function readIdentityAgent(applied: Applied, home: string): OwnAgent {
  const value = applied.get('identityagent')?.replace(/^"(.*)"$/, '$1');
  if (value === undefined || value === 'SSH_AUTH_SOCK' || value === '$SSH_AUTH_SOCK') return { kind: 'usual' };
  const path = value
    .replace(/^~(?=\/)/, home)
    .replace(/%[%d]/g, (token) => (token === '%%' ? '%\0' : home))
    .replace(/\$\{HOME\}/g, home);
  const isClear = isAbsolute(path) && !/%(?!\0)|\$\{/.test(path);
  return isClear ? { kind: 'path', path: join(path.replaceAll('\0', '')) } : { kind: 'unclear', value };
}
