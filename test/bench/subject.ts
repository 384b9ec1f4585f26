// What is compared: ways for ssh to reach the instance. Each is a few lines of ssh configuration and an environment, so that all
// are driven by the same ssh, in the same manner.
import { mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { endProcesses, leadsSession, processesOfHome } from './processes.ts';
import { instanceId, type Network, type Stand, startsPerSecond } from './stand.ts';

export interface Subject {
  name: string;
  /** Without the tokens; undefined: TCP to sshd. */
  proxyCommand: string | undefined;
  /** ProxyUseFdpass. */
  passesDescriptor: boolean;
  /** Whether nothing may be left of an earlier connection when one starts. */
  isCold: boolean;
  /** Whether each connection has large processes of its own, so that many at once measure the machine's memory. */
  isHeavy: boolean;
  /** Of ssh: `-F`. */
  configFile: string;
  env(): Record<string, string>;
  /** What serves all connections, if anything does and is there. */
  sharedProcesses(): number[];
  /** What should have ended with its connection, where no connection is open. */
  leftBehind(): number[];
  /** Before each connection, not measured. */
  prepare(): void;
  /** After each connection, or after the last. */
  clean(): Promise<void>;
}

export interface CustomCommand {
  name: string;
  command: string;
}

/** AWS's own client, where it is found. */
export interface AwsClient {
  cli: string;
  plugin: string;
}

export interface SubjectOptions {
  stand: Stand;
  network: Network;
  awsClient: AwsClient | undefined;
  custom: CustomCommand[];
}

/** Direct TCP first: others are compared with it. */
export function makeSubjects(options: SubjectOptions): Subject[] {
  const { keyhole } = options.stand;
  const plain = (flags: string) => `"${keyhole}" proxy ${flags}-- %h %p %r`;
  return [
    new SshSubject('direct', options, {}),
    new SshSubject('warm', options, { proxyCommand: plain(''), passesDescriptor: true }),
    new SshSubject('cold', options, { proxyCommand: plain(''), passesDescriptor: true, isCold: true }),
    new SshSubject('relay', options, { proxyCommand: plain(''), isHeavy: true }),
    new SshSubject('no-daemon', options, { proxyCommand: plain('--no-daemon '), isHeavy: true }),
    new SshSubject('eice', options, {
      proxyCommand: plain(''),
      passesDescriptor: true,
      env: { KEYHOLE_TRANSPORT: 'eice' },
    }),
    ...(options.awsClient === undefined ? [] : [awsSubject(options, options.awsClient)]),
    ...options.custom.map(
      ({ name, command }) => new SshSubject(name, options, { proxyCommand: command, isHeavy: true }),
    ),
  ];
}

/** A keyhole with a daemon of its own, for what must not see other connections. */
export function makeWarmSubject(options: SubjectOptions): Subject {
  return makeSubjects({ ...options, awsClient: undefined, custom: [] }).find(({ name }) => name === 'warm')!;
}

function awsSubject(options: SubjectOptions, { cli, plugin }: AwsClient): Subject {
  const what = `ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p`;
  return new SshSubject('cli+plugin', options, {
    proxyCommand: `"${cli}" ${what}`,
    isHeavy: true,
    // The CLI looks for its plugin there.
    path: join(plugin, '..'),
  });
}

interface Kind {
  proxyCommand?: string;
  passesDescriptor?: boolean;
  isCold?: boolean;
  isHeavy?: boolean;
  /** Put first on PATH. */
  path?: string;
  env?: Record<string, string>;
}

class SshSubject implements Subject {
  readonly name: string;
  readonly proxyCommand: string | undefined;
  readonly passesDescriptor: boolean;
  readonly isCold: boolean;
  readonly isHeavy: boolean;
  readonly configFile: string;
  readonly #stand: Stand;
  readonly #network: Network;
  readonly #path: string;
  readonly #env: Record<string, string>;
  #home: string;

  constructor(name: string, { stand, network }: SubjectOptions, kind: Kind) {
    this.name = name;
    this.proxyCommand = kind.proxyCommand;
    this.passesDescriptor = kind.passesDescriptor ?? false;
    this.isCold = kind.isCold ?? false;
    this.isHeavy = kind.isHeavy ?? false;
    this.#stand = stand;
    this.#network = network;
    this.#path = [...(kind.path === undefined ? [] : [kind.path]), process.env.PATH].join(delimiter);
    this.#env = kind.env ?? {};
    this.#home = stand.makeHome();
    this.configFile = join(this.#home, 'ssh_config');
    this.#writeConfig();
  }

  env(): Record<string, string> {
    return {
      PATH: `${this.#path}:/usr/sbin:/sbin`,
      HOME: this.#home,
      SHELL: '/bin/sh',
      LC_ALL: 'C',
      KEYHOLE_START_SESSIONS_PER_SECOND: String(startsPerSecond),
      ...this.#network.env,
      ...this.#env,
    };
  }

  /** ssh and the ProxyCommand have the same HOME; what survives them does so in a session of its own. */
  sharedProcesses(): number[] {
    if (this.proxyCommand === undefined) return [];
    return processesOfHome(this.#home).filter(leadsSession);
  }

  leftBehind(): number[] {
    return processesOfHome(this.#home).filter((pid) => !leadsSession(pid));
  }

  prepare(): void {
    if (this.isCold) this.#home = this.#stand.makeHome();
  }

  async clean(): Promise<void> {
    await endProcesses(processesOfHome(this.#home));
  }

  #writeConfig(): void {
    mkdirSync(this.#home, { recursive: true });
    const { sshd, identityFile, knownHosts } = this.#stand;
    const way =
      this.proxyCommand === undefined
        ? [`HostName ${this.#network.sshd.host}`, `Port ${this.#network.sshd.port}`, `HostKeyAlias ${instanceId}`]
        : [`ProxyCommand ${this.proxyCommand}`, `ProxyUseFdpass ${this.passesDescriptor ? 'yes' : 'no'}`];
    const login = [
      `User ${sshd.user}`,
      `IdentityFile ${identityFile}`,
      'IdentitiesOnly yes',
      'IdentityAgent none',
      `UserKnownHostsFile ${knownHosts}`,
      'GlobalKnownHostsFile /dev/null',
      'StrictHostKeyChecking yes',
      'BatchMode yes',
    ];
    writeFileSync(this.configFile, ['Host *', ...[...way, ...login].map((line) => `  ${line}`), ''].join('\n'));
  }
}
