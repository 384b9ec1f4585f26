// `keyhole policy`: what an administrator gives to AWS so that keyhole may do its work and nothing else.
import { isIP } from 'node:net';
import { loadSettings } from '../config.ts';
import { UsageError } from '../errors.ts';
import { hostKeysDocument } from '../hostkeys/host-keys-document.ts';
import { pushDocument } from '../keypush/push-document.ts';
import { pushPatterns } from '../keypush/push-script.ts';
import { findPaths } from '../paths.ts';
import { type PolicyWish, renderDenial, renderPolicy } from '../policy/policy.ts';
import type { VerbContext } from './run.ts';

export interface PolicyArguments {
  pushDocument: boolean;
  hostKeysDocument: boolean;
  denySsh: boolean;
  /** Login names that it is for; everybody where there is none. */
  users: string[];
  instances: string[];
  /** `KEY=VALUE`. */
  tags: string[];
  /** CIDR ranges. */
  addresses: string[];
  region: string;
  account: string;
  names: boolean;
  hosts: boolean;
  forward: boolean;
  /** Settings, by flag name. */
  flags: Record<string, string>;
}

/** @throws UsageError `bad-usage`, `bad-user` */
export async function policy(wanted: PolicyArguments, { terminal, env }: VerbContext): Promise<void> {
  const { pushDocument: forPush, hostKeysDocument: forHostKeys, denySsh } = wanted;
  if ([forPush, forHostKeys, denySsh].filter(Boolean).length > 1) {
    throw new UsageError('bad-usage', 'only one of --push-document, --host-keys-document and --deny-ssh can be given');
  }
  const users = checkUsers(wanted.users);
  if (forPush) return terminal.print(json(pushDocument(users)));
  if (forHostKeys) return terminal.print(json(hostKeysDocument()));
  const wish = wishOf(wanted, env);
  terminal.print(json(denySsh ? renderDenial(wish) : renderPolicy(wish)));
}

/** What is used: as the settings say for all hosts, and as the options do. */
function wishOf(wanted: PolicyArguments, env: NodeJS.ProcessEnv): PolicyWish {
  const settings = loadSettings({ flags: wanted.flags, env, file: findPaths(env).configFile });
  const { transport, push, hostKeys, start, sshDocument, forwardDocument, forwardRemoteDocument } = settings;
  return {
    transport,
    push,
    hostKeys,
    start,
    sessionDocuments:
      wanted.forward || wanted.denySsh ? [sshDocument, forwardDocument, forwardRemoteDocument] : [sshDocument],
    names: wanted.names,
    inventory: wanted.hosts,
    users: wanted.users,
    region: check('--region', wanted.region, /^(?:\*|[a-z0-9-]{1,63})$/, 'a region is such as eu-west-1'),
    account: check('--account', wanted.account, /^(?:\*|[0-9]{12})$/, 'an account has 12 digits'),
    targets: wanted.instances.map((id) =>
      check('--instance', id, /^(?:i-(?:[0-9a-f]{17}|[0-9a-f]{8})|mi-[0-9a-f]{17})$/, 'an id is i-… or mi-…'),
    ),
    tags: wanted.tags.map(parseTag),
    endpointId: settings.eiceEndpointId,
    ports: [settings.port ?? 22],
    addresses: wanted.addresses.map(parseRange),
    maxTunnelSeconds: Math.ceil(settings.maxTunnelDurationMs / 1_000),
  };
}

function check(option: string, text: string, pattern: RegExp, hint: string): string {
  if (pattern.test(text)) return text;
  throw new UsageError('bad-usage', `${option} cannot be ${JSON.stringify(text.slice(0, 80))}`, { hint });
}

/** What AWS allows in tags (EC2 user guide, "Tag restrictions"); `*` and `?` in the value stand for any characters. */
function parseTag(text: string): { key: string; value: string } {
  const [, key, value] = /^([\p{L}\p{Z}\p{N}_.:/+\-@]{1,128})=([\p{L}\p{Z}\p{N}_.:/=+\-@*?]{0,256})$/u.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new UsageError('bad-usage', '--tag is given as KEY=VALUE');
  return { key, value };
}

function parseRange(text: string): string {
  const [, address = '', length = ''] = /^([0-9A-Fa-f:.]+)(?:\/([0-9]{1,3}))?$/.exec(text) ?? [];
  const family = isIP(address);
  if (family !== 0 && Number(length) <= (family === 4 ? 32 : 128)) return text;
  throw new UsageError('bad-usage', '--address is given as an address or a range, 10.0.0.0/16');
}

function json(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}

function checkUsers(users: string[]): string[] {
  const wrong = users.find((user) => !pushPatterns.user.test(user));
  if (wrong === undefined) return users;
  throw new UsageError('bad-user', `${JSON.stringify(wrong)} is not a login name for which a key is pushed over SSM`, {
    hint: 'it has letters, digits, ".", "_" and "-", begins with a letter or "_", and has 32 characters at most',
  });
}
