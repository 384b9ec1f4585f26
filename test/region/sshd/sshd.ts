// The sshd of the simulated instances: the machine's own OpenSSH server where there is one, else one made with
// the ssh2 library, so that nothing needs root or an installation. Either listens on loopback, on a port of its own
// for each instance, logs in as the user who runs it, and admits the given keys and those that were pushed to the
// instance in question. It ends with this process, however that ends.
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { NodeFiles } from '../node/files.ts';
import type { NodeOptions } from '../options.ts';
import { startEmbeddedSshd } from './embedded.ts';
import { opensshPath, startOpenssh } from './openssh.ts';

export interface SshdOptions {
  /** Public keys in authorized_keys form, good on every instance; default none. */
  authorizedKeys?: string[];
  /** Login name; another one than the current user only as root and with OpenSSH. */
  user?: string;
  /** Which one to start; without it OpenSSH where it is installed. */
  kind?: 'openssh' | 'ssh2';
  /** Further users of the nodes' file systems, for whom no login is possible. */
  users?: string[];
  /** Whose sshd it is; default: that of one instance whose name does not matter. */
  instances?: string[];
  /** sshd_config's KexAlgorithms; default OpenSSH's own. OpenSSH only. */
  kexAlgorithms?: string;
}

/** An sshd as both makers are asked for it. */
export interface SshdRequest {
  authorizedKeys: string[];
  user: string;
  users: string[];
  instances: string[];
  kexAlgorithms: string | undefined;
}

/** One instance's way into its sshd. */
export interface Door {
  port: number;
  publishKeys: (user: string, publicKeys: string[]) => void;
  /** Where commands run, and whose users' authorized_keys are good here too. OpenSSH only. */
  files?: NodeFiles;
}

export interface StartedSshd {
  kind: 'openssh' | 'ssh2';
  /** Public host keys, `ssh-ed25519 AAAA…`, without comment. */
  hostKeys: string[];
  /** One for each instance, in the order asked. */
  doors: Door[];
  /** Ends the server with all its connections, and removes its files. */
  stop(): Promise<void>;
}

export interface Sshd extends Pick<StartedSshd, 'kind' | 'hostKeys' | 'stop'> {
  host: '127.0.0.1';
  /** The first instance's. */
  port: number;
  user: string;
  /** What `RegionOptions.nodes` says of the instance: its port 22, where its pushed keys go, and how it runs commands. */
  node(instanceId: string): Required<Pick<NodeOptions, 'instanceId' | 'ports' | 'publishKeys' | 'runScript'>>;
  /** The instance's file system. @throws with the embedded sshd, which has none */
  files(instanceId?: string): NodeFiles;
}

export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const user = options.user ?? userInfo().username;
  const kind = options.kind ?? (existsSync(opensshPath) ? 'openssh' : 'ssh2');
  const instances = options.instances ?? ['the-instance'];
  const { authorizedKeys = [], users = [], kexAlgorithms } = options;
  const request = { authorizedKeys, user, users, instances, kexAlgorithms };
  const { hostKeys, doors, stop } = await (kind === 'openssh' ? startOpenssh(request) : startEmbeddedSshd(request));
  const doorOf = (instanceId: string) => {
    const door = doors[instances.indexOf(instanceId)];
    if (door === undefined) throw new Error(`this sshd was not started for ${instanceId}`);
    return door;
  };
  return {
    kind,
    hostKeys,
    stop,
    host: '127.0.0.1',
    port: doors[0]!.port,
    user,
    node(instanceId) {
      const { port, publishKeys, files } = doorOf(instanceId);
      return { instanceId, ports: { 22: { host: '127.0.0.1', port } }, publishKeys, runScript: files?.runScript };
    },
    files(instanceId = instances[0]!) {
      const { files } = doorOf(instanceId);
      if (files === undefined) throw new Error('the embedded sshd has no files');
      return files;
    },
  };
}
