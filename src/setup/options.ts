// The options of `setup` that end up in the text of a configuration, and so are read strictly.
import { UsageError } from '../errors.ts';
import { parseUser } from '../target/host.ts';
import type { Block } from './block.ts';
import type { SetupOptions } from './memory.ts';

/** AWS's own images'; Debian has `admin`, Ubuntu `ubuntu`, Rocky `rocky`. */
const defaultUser = 'ec2-user';

/** @throws UsageError `bad-usage`, `bad-user` */
export function readOptions({ users, patterns }: SetupOptions): Pick<Block, 'user' | 'users' | 'patterns'> {
  let user = defaultUser;
  const forPatterns: Block['users'] = [];
  for (const text of users) {
    const at = text.lastIndexOf('=');
    const name = parseUser(text.slice(at + 1));
    if (at < 0) user = name;
    else forPatterns.push({ pattern: parsePattern(text.slice(0, at)), user: name });
  }
  return { user, users: forPatterns, patterns: patterns.map(parsePattern) };
}

function parsePattern(text: string): string {
  if (/^[A-Za-z0-9_.?*][A-Za-z0-9_.?*-]*$/.test(text)) return text;
  throw new UsageError('bad-usage', `${JSON.stringify(text.slice(0, 80))} is not a pattern of host names`, {
    hint: 'a pattern has letters, digits, ".", "_", "-", "*" and "?"',
  });
}
