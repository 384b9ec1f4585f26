// What must hold on this machine: OpenSSH and the configuration that it really applies, our own, the folder of the sockets,
// the daemon. Only looks: starts ssh with -V and -G, which connect to nothing.
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname } from 'node:path';
import type { Clock } from '../clock.ts';
import { loadSettings } from '../config.ts';
import { KeyholeError } from '../errors.ts';
import { findDaemon, isOlder } from '../helper/connect.ts';
import { assertPrivateFolder } from '../private-folder.ts';
import type { Settings } from '../settings.ts';
import type { Operands } from '../target/call.ts';
import { version } from '../version.ts';
import { type Finding, fail, failed, none, pass, warn } from './finding.ts';

export interface MachineOptions {
  env: NodeJS.ProcessEnv;
  /** As ssh would name it; undefined: the configuration is looked at with an instance that need not exist. */
  host: string | undefined;
  /** The name of it that keyhole gets from ssh, where it has one. */
  called: string | undefined;
  /** `~/.ssh/keyhole`, or why there can be none. */
  sshDir: string | KeyholeError;
  configFile: string | undefined;
  clock: Clock;
  signal: AbortSignal;
}

const someHost = 'i-0123456789abcdef0';
/** The oldest that the block of `keyhole setup` is written for. */
const oldestSsh = [8, 4];
/** From here on ssh binds its agent connection (session-bind@openssh.com). */
const bindingSsh = [8, 9];
const commandTimeoutMs = 5_000;

export async function* checkMachine(options: MachineOptions): AsyncGenerator<Finding> {
  yield pass('program', `keyhole ${version}, Node ${process.versions.node}`);
  const settings = readSettings(options);
  yield settings.finding;
  const ssh = await checkSsh(options, settings.value);
  yield ssh;
  if (ssh.status !== 'fail') yield* checkSshConfig(options, settings.value);
  yield checkFolder(options);
  yield await checkDaemon(options);
}

/** What ssh gives to its ProxyCommand for this name: its configuration may call it otherwise, as an alias of an id. */
export async function askOperands(host: string, env: NodeJS.ProcessEnv): Promise<Operands> {
  const { value } = await askConfig(host, env);
  return { host: value('hostname') ?? host, port: value('port') ?? '22' };
}

function readSettings({ env, called, configFile }: MachineOptions): { finding: Finding; value: Settings | undefined } {
  try {
    const value = loadSettings({ env, file: configFile, ...(called !== undefined && { host: called }) });
    return { finding: pass('settings', describeFile(configFile)), value };
  } catch (error) {
    return { finding: failed('settings', error), value: undefined };
  }
}

function describeFile(file: string | undefined): string {
  if (file === undefined) return 'no configuration file is looked for';
  return existsSync(file) ? file : `defaults and the environment; there is no ${file}`;
}

async function checkSsh({ env, host = someHost }: MachineOptions, settings: Settings | undefined): Promise<Finding> {
  const { output, error } = await runSsh(['-V'], env);
  // It refuses before it reads its options.
  if (/^No user exists for uid/m.test(output)) {
    return fail(
      'ssh',
      `ssh does not run: ${output.trim()}`,
      'give that uid an entry in the password database (/etc/passwd)',
    );
  }
  if (error !== undefined) {
    return fail('ssh', `ssh cannot be run: ${error}`, 'install the client of OpenSSH (package openssh-client)');
  }
  const said = output.trim().split('\n').at(-1) ?? '';
  const [, major, minor] = /OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)/.exec(said) ?? [];
  if (major === undefined) return warn('ssh', `this is not OpenSSH: ${said}`, 'keyhole is made for OpenSSH');
  const found = [Number(major), Number(minor)];
  if (isBefore(found, oldestSsh)) {
    return fail('ssh', `${said} is older than 8.4`, 'install a newer OpenSSH; or use `keyhole proxy --no-daemon`');
  }
  const { value } = await askConfig(host, env);
  const isAllowed = settings?.agentAllowUnbound || /--agent-allow-unbound=true/.test(value('proxycommand') ?? '');
  if (isBefore(found, bindingSsh) && !isAllowed) {
    return warn(
      'ssh',
      `${said} does not say for which host it uses an agent`,
      '`keyhole setup` makes up for it, or allow_unbound = true under [agent] in config.toml; else no key of keyhole is offered',
    );
  }
  return pass('ssh', said.split(',')[0]!);
}

function isBefore([major, minor]: number[], [wantedMajor, wantedMinor]: number[]): boolean {
  return major! < wantedMajor! || (major === wantedMajor && minor! < wantedMinor!);
}

async function* checkSshConfig(options: MachineOptions, settings: Settings | undefined): AsyncGenerator<Finding> {
  const { env, host = someHost, called, sshDir } = options;
  const { output, error, value } = await askConfig(host, env);
  if (error !== undefined) {
    yield fail(
      'ssh-config',
      `ssh cannot read its configuration: ${output.trim().split('\n').at(-1) || error}`,
      'mend it',
    );
    return;
  }
  const command = value('proxycommand') ?? '';
  if (!isKeyhole(command)) {
    const what = command === '' || command === 'none' ? 'no ProxyCommand' : `the ProxyCommand ${command}`;
    // `Host` is compared with the name that was typed, not with what HostName makes of it.
    const remedy =
      called === undefined || called === host.toLowerCase()
        ? '`keyhole setup` writes the block for ~/.ssh/config'
        : `\`keyhole setup --hosts ${host}\` lets this name go through keyhole too`;
    yield fail('ssh-config', `for ${host} ssh has ${what}`, remedy);
    return;
  }
  yield pass('ssh-config', `${host} goes through ${command}`);
  yield value('proxyusefdpass') === 'yes'
    ? pass('hand-over', 'ssh takes over the connection')
    : warn(
        'hand-over',
        'ssh does not take over the connection, so that a process stays with each',
        'ProxyUseFdpass yes',
      );
  if (settings?.push === 'off') yield none('agent', 'the setting push is off: only keys of your own are used');
  else yield checkAgent(value, sshDir);
}

/** Whether ssh will ask the daemon for a key. */
function checkAgent(value: (name: string) => string | undefined, sshDir: string | KeyholeError): Finding {
  const path = value('identityagent');
  const shown = path ?? 'SSH_AUTH_SOCK';
  const expanded = path?.replace(/^~(?=\/)/, homedir());
  if (typeof sshDir === 'string' && !expanded?.startsWith(`${sshDir}/`)) {
    return warn(
      'agent',
      `ssh asks the agent ${shown} for keys, not that of keyhole (${basename(sshDir)}/agent)`,
      '`keyhole setup` sets IdentityAgent; without it only keys of your own are used',
    );
  }
  if (value('identitiesonly') === 'yes') {
    return warn(
      'agent',
      'IdentitiesOnly is on, so ssh offers no key that only the agent of keyhole has',
      'IdentitiesOnly no for these hosts',
    );
  }
  return pass('agent', `ssh asks ${shown}`);
}

function checkFolder({ sshDir }: MachineOptions): Finding {
  if (typeof sshDir !== 'string') return failed('folder', sshDir);
  try {
    assertPrivateFolder(sshDir);
    return isWritable(sshDir) ? pass('folder', `${sshDir} is yours alone`) : readOnly(sshDir);
  } catch (error) {
    if (!(error instanceof KeyholeError) || error.code !== 'no-folder') return failed('folder', error);
    let above = dirname(sshDir);
    while (!existsSync(above)) above = dirname(above);
    if (!isWritable(above)) return readOnly(above);
    return none('folder', `${sshDir} is not there yet; the first connection makes it`);
  }
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Each connection then relays for itself. */
function readOnly(folder: string): Finding {
  return warn(
    'folder',
    `${folder} cannot be written to, so there is no daemon, and no key of its own`,
    'make it writable, or name another folder with KEYHOLE_RUNTIME_DIR',
  );
}

async function checkDaemon({ sshDir, clock, signal }: MachineOptions): Promise<Finding> {
  if (typeof sshDir !== 'string') return none('daemon', 'there can be none without its folder');
  try {
    const found = await findDaemon({ sshDir, clock, signal });
    found?.link.socket.destroy();
    if (found === undefined) return none('daemon', 'none is running; the first connection starts one');
    const { hello } = found;
    if (isOlder(hello.version, version)) {
      return warn('daemon', `it has version ${hello.version}`, 'the next connection starts a newer one in its place');
    }
    return pass('daemon', `version ${hello.version}, pid ${hello.pid}`);
  } catch (error) {
    signal.throwIfAborted();
    return failed('daemon', error, '`keyhole daemon stop`, or end that process; the next connection starts another');
  }
}

/** What applies to a host. `value` is the first one of a keyword. */
async function askConfig(host: string, env: NodeJS.ProcessEnv) {
  const { output, error } = await runSsh(['-G', '--', host], env);
  const value = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(output)?.[1]?.trim();
  return { output, error, value };
}

function isKeyhole(command: string | undefined): boolean {
  return command !== undefined && /keyhole\S*["']?\s.*\bproxy\b/.test(command);
}

/** `error` where it could not be run or ended badly. Its output is all that it printed. */
function runSsh(args: string[], env: NodeJS.ProcessEnv): Promise<{ output: string; error: string | undefined }> {
  return new Promise((resolve) => {
    execFile('ssh', args, { env, timeout: commandTimeoutMs }, (error, stdout, stderr) => {
      const why = error === null ? undefined : (error.code ?? error.signal ?? 'failed');
      resolve({ output: stdout || stderr, error: why === undefined ? undefined : String(why) });
    });
  });
}
