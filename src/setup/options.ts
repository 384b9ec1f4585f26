// What ends up in ssh's configuration, from the options of `setup` and from the configuration file; so it is read strictly.
import type { ConfigFile } from '../config-file.ts';
import { UsageError } from '../errors.ts';
import { parseUser } from '../target/host.ts';
import type { Block } from './block.ts';
import type { SetupOptions } from './memory.ts';

/** AWS's own images'; Debian has `admin`, Ubuntu `ubuntu`, Rocky `rocky`. */
const defaultUser = 'ec2-user';

/** What is given as an option wins over the file. @throws UsageError `bad-usage`, `bad-user` */
export function readOptions(
  { users, patterns }: SetupOptions,
  file: ConfigFile,
): Pick<Block, 'user' | 'tables' | 'patterns' | 'hostKeysVerified'> {
  let user = textOf(file.values.user) ?? defaultUser;
  const tables: Block['tables'] = [];
  for (const text of users) {
    const at = text.lastIndexOf('=');
    const name = parseUser(text.slice(at + 1));
    if (at < 0) user = name;
    else tables.push({ patterns: [parsePattern(text.slice(0, at))], user: name });
  }
  const aliases: string[] = [];
  for (const { patterns: written, values } of file.hosts) {
    const patternsOfTable = written.split(/[\s,]+/).filter((pattern) => pattern !== '');
    const own = textOf(values.user);
    const verified = isVerified(values.hostKeys);
    if (own !== undefined || verified !== undefined) {
      tables.push({
        patterns: patternsOfTable.map((pattern) => `${/^!?/.exec(pattern)}${parsePattern(pattern.replace(/^!/, ''))}`),
        ...(own !== undefined && { user: own }),
        ...(verified !== undefined && { hostKeysVerified: verified }),
      });
    }
    // A name that means another host is keyhole's too.
    if (values.target !== undefined) aliases.push(...patternsOfTable.filter((pattern) => !pattern.startsWith('!')));
  }
  return {
    user,
    tables,
    patterns: [...new Set([...patterns, ...aliases].map(parsePattern))],
    hostKeysVerified: isVerified(file.values.hostKeys) ?? false,
  };
}

type FileValue = { value: unknown } | undefined;

function textOf(found: FileValue): string | undefined {
  return typeof found?.value === 'string' ? found.value : undefined;
}

/** Whether the setting `host_keys` names a source; undefined where it is not set. */
function isVerified(found: FileValue): boolean | undefined {
  return found && found.value !== 'off';
}

function parsePattern(text: string): string {
  if (/^[A-Za-z0-9_.?*][A-Za-z0-9_.?*-]*$/.test(text)) return text;
  throw new UsageError('bad-usage', `${JSON.stringify(text.slice(0, 80))} is not a pattern of host names`, {
    hint: 'a pattern has letters, digits, ".", "_", "-", "*" and "?"',
  });
}
