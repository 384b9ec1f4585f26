// Names of hosts for ssh's configuration, so that editors and completions know them. Pure. A Name tag is what anybody wrote
// who may tag: no more than letters, digits, `_` and `-` of it get into the file, and every alias ends in `.ec2` or is
// an id, so that none can stand in the way of a host that is not keyhole's.
import type { ListedHost } from './inventory.ts';

/** What was asked for by option, and so has to be part of the name. */
export interface Scope {
  region: string | undefined;
  profile: string | undefined;
}

export interface Alias {
  alias: string;
  /** As keyhole's own grammar has it. */
  hostName: string;
  /** Undefined where the platform does not say: the block's default holds. */
  user: string | undefined;
}

const maxNameLength = 64;

export function aliasesOf(hosts: readonly ListedHost[], { region, profile }: Scope): Alias[] {
  const suffix = [region, profile].filter((part) => part !== undefined).map((part) => `.${part}`);
  const names = hosts.map(({ name }) => safeName(name));
  return hosts.map(({ id, platform }, at) => {
    const name = names[at]!;
    const unique = names.filter((other) => other === name).length === 1 ? name : `${name}-${id}`;
    const hostName = [id, ...suffix].join('');
    return { alias: name === '' ? hostName : `${[unique, ...suffix].join('')}.ec2`, hostName, user: userOf(platform) };
  });
}

/** Without dots: they divide name, region and profile. Empty where nothing is left. */
function safeName(name: string | undefined): string {
  return (name ?? '')
    .replace(/[^A-Za-z0-9_]+/g, '-')
    .slice(0, maxNameLength)
    .replace(/^-+|-+$/g, '');
}

/** Who logs in to the images that AWS and the distributions publish (EC2 user guide, "Default user names"). */
function userOf(platform: string | undefined): string | undefined {
  const users: [RegExp, string][] = [
    [/Ubuntu/i, 'ubuntu'],
    [/Debian/i, 'admin'],
    [/CentOS/i, 'centos'],
    [/Rocky/i, 'rocky'],
    [/Fedora/i, 'fedora'],
    [/Bitnami/i, 'bitnami'],
    [/Windows/i, 'Administrator'],
    [/Amazon Linux|Red Hat|SUSE|AlmaLinux|Oracle|macOS/i, 'ec2-user'],
  ];
  return users.find(([pattern]) => pattern.test(platform ?? ''))?.[1];
}

const head = `# Written by \`keyhole hosts --sync\`, for each region and profile anew.
`;

/** The file with the part for this region and profile replaced, and the others as they were. */
export function renderAliases(before: string, title: string, aliases: readonly Alias[]): string {
  const others = before
    .split(/^(?=## )/m)
    .filter((part) => part.startsWith('## ') && !part.startsWith(`## ${title}\n`));
  const lines = aliases.map(
    ({ alias, hostName, user }) =>
      `Host ${alias}\n    HostName ${hostName}\n${user === undefined ? '' : `    User ${user}\n`}`,
  );
  return [head, ...others, `## ${title}\n${lines.join('')}`].join('');
}
