// Which callers share their AWS settings: those whose surroundings lead to the same answers. Pure but for a few stats.
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

export interface CallerSurroundings {
  env: Record<string, string>;
  cwd: string;
}

export interface WantedSettings {
  /** From the host's name; each wins over the environment. */
  profile?: string | undefined;
  region?: string | undefined;
}

/** Variables that decide what AWS tools do. */
const deciding =
  /^(?:AWS_[A-Z0-9_]+|HOME|USERPROFILE|PATH|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR)$/;
/** Variables that differ from shell to shell and decide nothing. */
const idle = /^(?:_|SHLVL|PWD|OLDPWD|TERM.*|COLORTERM|COLUMNS|LINES|WINDOWID|SSH_(?:CLIENT|CONNECTION|TTY)|LS_COLORS)$/;

/** Names the settings without telling them: they hold secrets. */
export function surroundingsKey({ env, cwd }: CallerSurroundings, wanted: WantedSettings): string {
  const variables = Object.entries(env).filter(([name]) => deciding.test(name));
  // A file that is named relatively is another one in another folder.
  const relative = variables.some(
    ([name, value]) => /^AWS_\w+_(?:FILE|BUNDLE)$|^AWS_CA_BUNDLE$/.test(name) && !isAbsolute(value),
  );
  return hash([wanted.profile ?? null, wanted.region ?? null, relative ? cwd : null, variables.sort(byName)]);
}

/** As surroundingsKey, for settings that a program of the user's gives: it may look at anything. */
export function wholeSurroundingsKey({ env, cwd }: CallerSurroundings, wanted: WantedSettings): string {
  const variables = Object.entries(env).filter(([name]) => !idle.test(name));
  return hash([wanted.profile ?? null, wanted.region ?? null, cwd, variables.sort(byName)]);
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
}

function byName([a]: [string, string], [b]: [string, string]): number {
  return a < b ? -1 : 1;
}

/** Changes whenever a file that AWS settings are read from does: what was read from them is then of no use. */
export function sharedFilesStamp({ env, cwd }: CallerSurroundings): string {
  const home = env.HOME ?? env.USERPROFILE ?? homeOfUser();
  const files = [
    env.AWS_CONFIG_FILE || (home && join(home, '.aws', 'config')),
    env.AWS_SHARED_CREDENTIALS_FILE || (home && join(home, '.aws', 'credentials')),
    env.AWS_CA_BUNDLE,
  ];
  return files.map((file) => (file ? stamp(resolve(cwd, file)) : '-')).join(' ');
}

/** Changes whenever somebody logs in: `aws sso login`, `aws login`. */
export function loginFilesStamp({ env }: CallerSurroundings): string {
  const home = env.HOME ?? env.USERPROFILE ?? homeOfUser();
  if (!home) return '';
  return [join('sso', 'cache'), join('login', 'cache')]
    .map((name) => join(home, '.aws', name))
    .flatMap((folder) => namesIn(folder).map((name) => `${name} ${stamp(join(folder, name))}`))
    .join(' ');
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** As the SDK finds it without HOME. */
function homeOfUser(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined; // a uid without a passwd entry
  }
}

/** With the time of the last change of the inode, which, unlike that of the content, nobody can set back. */
function stamp(file: string): string {
  try {
    const { mtimeNs, ctimeNs, size, ino } = statSync(file, { bigint: true });
    return `${mtimeNs}.${ctimeNs}.${size}.${ino}`;
  } catch {
    return '-';
  }
}

/** Variables of AWS that name and choose. */
const naming =
  /^AWS_(?:PROFILE|DEFAULT_PROFILE|REGION|DEFAULT_REGION|CONFIG_FILE|SHARED_CREDENTIALS_FILE|CA_BUNDLE|ENDPOINT_URL|ENDPOINT_URL_[A-Z0-9_]+|IGNORE_CONFIGURED_ENDPOINT_URLS|USE_[A-Z_]+|ROLE_ARN|ROLE_SESSION_NAME|WEB_IDENTITY_TOKEN_FILE|CONTAINER_CREDENTIALS_(?:RELATIVE|FULL)_URI|EC2_METADATA_[A-Z_]+|STS_REGIONAL_ENDPOINTS|SDK_LOAD_CONFIG|MAX_ATTEMPTS|RETRY_MODE|DEFAULT_OUTPUT|OUTPUT|PAGER|CLI_[A-Z_]+|EXECUTION_ENV)$/;
const others =
  /^(?:HOME|USERPROFILE|PATH|USER|LOGNAME|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|NODE_EXTRA_CA_CERTS)$/;

/**
 * What a successor needs to find the same settings again: a profile's name, not a key. Undefined where more is needed, for
 * what is left would lead to somebody else's.
 */
export function settingsWithoutSecrets(env: Record<string, string>): Record<string, string> | undefined {
  const entries = Object.entries(env);
  if (entries.some(([name]) => name.startsWith('AWS_') && !naming.test(name))) return undefined;
  const kept = entries.filter(([name]) => naming.test(name) || others.test(name));
  // A URL's password.
  return kept.some(([, value]) => /:\/\/[^/]*@/.test(value)) ? undefined : Object.fromEntries(kept);
}
