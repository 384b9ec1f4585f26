// The doctor before planted faults, one at a time: each is found, told under its check, and given its remedy; with all in
// order there is nothing to say. In this process, with a stub in place of ssh, which is asked for -V and -G only.
import { once } from 'node:events';
import { chmodSync, mkdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { examine } from '../../src/doctor/doctor.ts';
import type { Finding, Status } from '../../src/doctor/finding.ts';
import { silent } from '../../src/log.ts';
import { findPaths } from '../../src/paths.ts';
import { useAwsSettings } from '../aws/aws-files.ts';
import type { NodeOptions, RegionOptions } from '../region/options.ts';
import { type Region, startRegion } from '../region/region.ts';
import { shortFolder } from '../unix-sockets.ts';

const instanceId = 'i-0123456789abcdef0';
const nodeId = 'mi-0123456789abcdef0';
const endpointId = 'eice-0123456789abcdef0';

interface Scene {
  region?: Omit<RegionOptions, 'nodes'>;
  node?: Partial<NodeOptions>;
  host?: string;
  /** What sshd says first; null: nothing listens. */
  banner?: string | null;
  sshVersion?: string;
  /** What ssh says of every option, and exits with 255. */
  sshRefuses?: string;
  /** Lines of `ssh -G` in place of those that setup's block leads to; null: ssh is not there. */
  sshConfig?: Record<string, string> | null;
  env?: Record<string, string | undefined>;
  /** Of `~`. */
  arrange?(home: string, region: Region): void;
}

interface Fault extends Scene {
  name: string;
  check: string;
  /** Default `fail`. */
  status?: Status;
  detail: RegExp;
  remedy?: RegExp;
}

/** A server that says who it is, as sshd does. */
async function startServer(t: Test, banner: string): Promise<{ host: string; port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(banner);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

function installSsh(
  home: string,
  { sshVersion = 'OpenSSH_9.2p1 Debian-2, OpenSSL 3', sshRefuses, sshConfig = {} }: Scene,
): string {
  const bin = join(home, 'bin');
  mkdirSync(bin);
  if (sshRefuses !== undefined) {
    writeFileSync(join(bin, 'ssh'), `#!/bin/sh\necho '${sshRefuses}' >&2\nexit 255\n`, { mode: 0o755 });
    return bin;
  }
  if (sshConfig === null) return bin;
  const config = {
    proxycommand: '/home/me/.local/bin/keyhole proxy -- %h %p %r',
    proxyusefdpass: 'yes',
    identityagent: `${home}/.ssh/keyhole/agent/%r@%h:%p`,
    identitiesonly: 'no',
    ...sshConfig,
  };
  const lines = Object.entries(config).map(([name, value]) => `${name} ${value}`);
  writeFileSync(
    join(bin, 'ssh'),
    `#!/bin/sh\ncase $1 in\n-V) echo '${sshVersion}' >&2 ;;\n-G) cat <<'END'\n${lines.join('\n')}\nEND\n;;\n*) exit 9 ;;\nesac\n`,
    { mode: 0o755 },
  );
  return bin;
}

async function diagnose(t: Test, scene: Scene): Promise<Finding[]> {
  const { banner = 'SSH-2.0-OpenSSH_9.2p1\r\n', host = instanceId } = scene;
  const ports = banner === null ? {} : { 22: await startServer(t, banner) };
  const target = host.startsWith('mi-') ? nodeId : instanceId;
  const region = await startRegion({
    endpoints: [{ endpointId }],
    quotas: { StartSession: 100 },
    ...scene.region,
    nodes: [{ instanceId: target, ports, ...scene.node }],
  });
  t.teardown(() => region.stop());
  const home = shortFolder(t);
  const bin = installSsh(home, scene);
  mkdirSync(join(home, '.ssh/keyhole'), { mode: 0o700, recursive: true });
  scene.arrange?.(home, region);
  useAwsSettings(t, {}, { ...region.env, HOME: home });
  for (const [name, value] of Object.entries(scene.env ?? {})) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  const env = { ...process.env, PATH: `${bin}:/usr/bin:/bin` };
  if (scene.sshConfig === null) env.PATH = bin;
  const findings: Finding[] = [];
  const paths = findPaths(env);
  const signal = new AbortController().signal;
  const options = { env, host, paths, sshDir: paths.sshDir!, clock: systemClock, log: silent, signal };
  for await (const finding of examine(options)) findings.push(finding);
  t.strictSame(
    region.sessions.filter(({ active }) => active).map(({ sessionId }) => sessionId),
    [],
    'no session is left',
  );
  return findings;
}

const deny = (action: string, resource = '*') => ({ region: { denials: [{ action, resource }] } });
const expired = {
  accessKeyId: 'ASIAEXPIREDREGION001',
  secretAccessKey: 'simulated',
  sessionToken: 'simulated token',
  expiresAt: Date.now() - 1_000,
};

const faults: Fault[] = [
  {
    name: 'the user has no entry in the password database, as in many containers',
    sshRefuses: 'No user exists for uid 4242',
    check: 'ssh',
    detail: /No user exists for uid 4242/,
    remedy: /\/etc\/passwd/,
  },
  { name: 'there is no ssh', sshConfig: null, check: 'ssh', detail: /cannot be run: ENOENT/, remedy: /openssh-client/ },
  { name: 'ssh is too old', sshVersion: 'OpenSSH_7.9p1', check: 'ssh', detail: /7.9p1 is older than 8.4/ },
  {
    name: 'ssh does not bind its agent',
    sshVersion: 'OpenSSH_8.4p1',
    check: 'ssh',
    status: 'warn',
    detail: /does not say for which host/,
    remedy: /allow_unbound = true/,
  },
  {
    name: 'ssh knows nothing of keyhole',
    sshConfig: { proxycommand: 'none' },
    check: 'ssh-config',
    detail: /no ProxyCommand/,
    remedy: /keyhole setup/,
  },
  {
    name: 'another ProxyCommand comes first',
    sshConfig: { proxycommand: 'aws ssm start-session --target %h' },
    check: 'ssh-config',
    detail: /the ProxyCommand aws ssm/,
    remedy: /keyhole setup/,
  },
  {
    name: 'ssh does not take over',
    sshConfig: { proxyusefdpass: 'no' },
    check: 'hand-over',
    status: 'warn',
    detail: /a process stays/,
    remedy: /ProxyUseFdpass yes/,
  },
  {
    name: 'ssh asks another agent',
    sshConfig: { identityagent: '/run/user/1000/gnupg/S.gpg-agent.ssh' },
    check: 'agent',
    status: 'warn',
    detail: /asks the agent \/run\/user/,
    remedy: /IdentityAgent/,
  },
  {
    name: 'only named keys are offered',
    sshConfig: { identitiesonly: 'yes' },
    check: 'agent',
    status: 'warn',
    detail: /IdentitiesOnly is on/,
    remedy: /IdentitiesOnly no/,
  },
  {
    name: 'the configuration file has a mistake',
    arrange: (home) => {
      mkdirSync(join(home, '.config/keyhole'), { recursive: true });
      writeFileSync(join(home, '.config/keyhole/config.toml'), 'deadlime = "14s"\n');
    },
    check: 'settings',
    detail: /"deadlime" in .*config.toml:1:1/,
  },
  {
    name: 'the folder of the sockets is open to others',
    arrange: (home) => chmodSync(join(home, '.ssh/keyhole'), 0o770),
    check: 'folder',
    detail: /is open to others/,
    remedy: /chmod 700/,
  },
  {
    name: 'the folder of the sockets is a link',
    arrange: (home) => {
      rmdirSync(join(home, '.ssh/keyhole'));
      symlinkSync('/tmp', join(home, '.ssh/keyhole'));
    },
    check: 'folder',
    detail: /is not a folder/,
    remedy: /KEYHOLE_RUNTIME_DIR/,
  },
  {
    name: 'there are no credentials',
    env: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined },
    check: 'credentials',
    detail: /no AWS credentials/,
    remedy: /AWS_PROFILE/,
  },
  {
    name: 'there is no region',
    env: { AWS_REGION: undefined, AWS_DEFAULT_REGION: undefined },
    check: 'credentials',
    detail: /no AWS region/,
    remedy: /AWS_REGION/,
  },
  {
    name: 'the profile is not there',
    env: { AWS_PROFILE: 'prd' },
    check: 'credentials',
    detail: /profile prd is not in/,
    remedy: /list-profiles/,
  },
  {
    name: 'the credentials have expired',
    region: { accessKeys: [expired] },
    check: 'identity',
    detail: /have expired/,
    remedy: /get new ones/,
  },
  {
    name: 'the secret is another key’s',
    env: { AWS_SECRET_ACCESS_KEY: 'wrong' },
    check: 'identity',
    detail: /refuses the signature/,
    remedy: /secret access key/,
  },
  {
    name: 'AWS does not know the key',
    env: { AWS_ACCESS_KEY_ID: 'AKIANOBODYS000000001' },
    check: 'identity',
    detail: /does not know the credentials/,
  },
  {
    name: 'the clock is wrong by an hour',
    region: { clockOffsetMs: 3_600_000 },
    check: 'clock',
    detail: /3[56]\d\d s behind/,
    remedy: /set the clock/,
  },
  {
    name: 'the clock is a little wrong',
    region: { clockOffsetMs: -120_000 },
    check: 'clock',
    status: 'warn',
    detail: /12\d s ahead/,
    remedy: /set the clock/,
  },
  {
    name: 'the endpoint cannot be reached',
    env: { AWS_ENDPOINT_URL_SSM: 'http://127.0.0.1:1' },
    check: 'endpoint-ssm',
    detail: /127.0.0.1:1 cannot be reached \(ECONNREFUSED\)/,
    remedy: /port 443/,
  },
  {
    name: 'the name of the endpoint does not resolve',
    env: { AWS_ENDPOINT_URL_SSM: 'https://ssm.nowhere.invalid' },
    check: 'endpoint-ssm',
    detail: /cannot be resolved/,
    remedy: /right region/,
  },
  {
    name: 'the certificate is not trusted',
    region: { tls: true },
    env: { AWS_CA_BUNDLE: undefined, NODE_EXTRA_CA_CERTS: undefined },
    check: 'endpoint-ssm',
    detail: /no trusted TLS connection/,
    remedy: /AWS_CA_BUNDLE/,
  },
  { name: 'the host is none', host: 'db.example.com', check: 'host', detail: /is not a host/, remedy: /a host is/ },
  { name: 'no instance has the name', host: 'web-9.ec2', check: 'host', detail: /web-9/ },
  {
    name: 'there is no such instance',
    host: 'i-0fffffffffffffff0',
    check: 'instance',
    detail: /EC2 knows no/,
    remedy: /region and account/,
  },
  {
    name: 'the instance is stopped',
    node: { state: 'stopped' },
    check: 'instance',
    detail: /it is stopped/,
    remedy: /start-instances/,
  },
  {
    name: 'Systems Manager does not know the node',
    host: 'mi-0fffffffffffffff0',
    check: 'ssm-node',
    detail: /does not know mi-/,
    remedy: /hybrid activation.*advanced-instances/,
  },
  {
    name: 'the agent is not connected and there is no endpoint',
    node: { online: false },
    region: { endpoints: [] },
    check: 'ssm-connection',
    detail: /not connected/,
    remedy: /agent running/,
  },
  {
    name: 'the agent is not connected, an endpoint leads there',
    node: { online: false },
    check: 'ssm-connection',
    status: 'warn',
    detail: /not connected/,
    remedy: /agent running/,
  },
  {
    name: 'the agent is too old',
    node: { agentVersion: '2.3.600.0' },
    check: 'ssm-agent',
    status: 'warn',
    detail: /2\.3\.600\.0/,
    remedy: /AWS-UpdateSSMAgent/,
  },
  {
    name: 'the only endpoint failed',
    node: { online: false },
    region: { endpoints: [{ endpointId, state: 'create-failed' }] },
    check: 'eice',
    detail: /no EC2 Instance Connect Endpoint/,
    remedy: /create-instance-connect-endpoint/,
  },
  {
    name: 'StartSession is denied on the document',
    ...deny('ssm:StartSession', '*:document/*'),
    host: nodeId,
    check: 'tunnel',
    detail: /denies ssm:StartSession with document/,
    remedy: /must allow ssm:StartSession/,
  },
  {
    name: 'StartSession is denied on the node',
    ...deny('ssm:StartSession', '*:managed-instance/*'),
    host: nodeId,
    check: 'tunnel',
    detail: /denies ssm:StartSession on mi-/,
    remedy: /must allow ssm:StartSession/,
  },
  {
    name: 'the data channel is denied',
    ...deny('ssmmessages:OpenDataChannel'),
    host: nodeId,
    check: 'tunnel',
    detail: /refused the data channel|denies ssmmessages/,
    remedy: /ssmmessages:OpenDataChannel/,
  },
  {
    name: 'what may be described is denied',
    ...deny('ec2:DescribeInstances'),
    check: 'instance',
    status: 'unknown',
    detail: /could not check: AWS denies ec2:DescribeInstances/,
    remedy: /must allow ec2:DescribeInstances/,
  },
  {
    name: 'nothing listens',
    banner: null,
    env: { KEYHOLE_FIRST_BYTE_TIMEOUT: '1s' },
    check: 'sshd',
    detail: /nothing answers|refuses/,
    remedy: /is sshd running/,
  },
  {
    name: 'another server listens',
    banner: 'HTTP/1.1 400 Bad Request\r\n\r\n',
    check: 'sshd',
    detail: /is no SSH server/,
    remedy: /right port/,
  },
  {
    name: 'no key gets to a hybrid node',
    host: nodeId,
    check: 'push',
    status: 'warn',
    detail: /only keys of your own/,
    remedy: /ssm-document/,
  },
];

t.test('an alias of ssh is looked at as what ssh makes of it', async (t) => {
  const findings = await diagnose(t, { host: 'web', sshConfig: { hostname: instanceId, port: '22' } });
  t.match(
    findings.filter(({ check }) => check === 'ssh-config' || check === 'host'),
    [
      { status: 'pass', detail: /^web goes through/ },
      { status: 'pass', detail: instanceId },
    ],
  );
  t.match(findings.find(({ check }) => check === 'sshd')?.status, 'pass');
});

t.test('an alias of ssh that does not go through keyhole', async (t) => {
  const findings = await diagnose(t, { host: 'web', sshConfig: { hostname: instanceId, proxycommand: 'none' } });
  t.match(
    findings.filter(({ status }) => status === 'fail'),
    [{ check: 'ssh-config', remedy: /keyhole setup --hosts web/ }],
  );
});

t.test('a name that is none of keyhole’s is the only thing that is wrong with it', async (t) => {
  const findings = await diagnose(t, { host: 'db.example.com', sshConfig: { hostname: 'db.example.com' } });
  t.match(
    findings.filter(({ status }) => status === 'fail'),
    [{ check: 'host' }],
  );
});

t.test('an older ssh for which setup has made up is in order', async (t) => {
  const findings = await diagnose(t, {
    sshVersion: 'OpenSSH_8.4p1 Debian-5, OpenSSL 1',
    sshConfig: { proxycommand: '/home/me/.local/bin/keyhole proxy --agent-allow-unbound=true -- %h %p %r' },
  });
  t.match(
    findings.find(({ check }) => check === 'ssh'),
    { status: 'pass' },
  );
});

t.test('with all in order it has nothing to say', async (t) => {
  const findings = await diagnose(t, {});
  t.strictSame(
    findings.filter(({ status }) => status !== 'pass' && status !== 'none'),
    [],
  );
  t.match(
    findings.map(({ check }) => check),
    /^program,settings,ssh,ssh-config,.*,tunnel,sshd,push,host-keys$/,
    'in the order of a connection',
  );
});

for (const { name, check, status = 'fail', detail, remedy, ...scene } of faults) {
  t.test(name, async (t) => {
    const findings = await diagnose(t, scene);
    const found = findings.filter((finding) => finding.check === check);
    t.match(found, [{ status, detail, ...(remedy && { remedy }) }]);
    if (status === 'fail' && remedy === undefined) t.equal(found.length, 1);
  });
}
