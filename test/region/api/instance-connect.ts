// EC2 Instance Connect: SendSSHPublicKey. Constraints, errors and permission: protocol.md 9.6. The API takes kinds of
// keys that no instance honours; which those are is the instance's affair (sshd/pushed-keys.ts).
import { createPublicKey } from 'node:crypto';
import { ServiceError } from '../errors.ts';
import type { RegionState } from '../state.ts';
import { jsonWire } from './json-wire.ts';
import type { Call, Service } from './service.ts';
import type { Structure } from './shape.ts';

const sendSshPublicKey: Structure = {
  type: 'structure',
  required: ['InstanceId', 'InstanceOSUser', 'SSHPublicKey'],
  members: {
    InstanceId: { type: 'string', min: 10, max: 32, pattern: /^i-[a-f0-9]+$/ },
    InstanceOSUser: {
      type: 'string',
      min: 1,
      max: 32,
      pattern: /^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$|^[0-9]{1,31}[A-Za-z_][A-Za-z0-9@._-]*[A-Za-z0-9$_-]?$/,
    },
    SSHPublicKey: { type: 'string', min: 80, max: 4096 },
    AvailabilityZone: { type: 'string', min: 6, max: 32, pattern: /^(\w+-){2,3}\d+\w+$/ },
  },
};

/** By RFC 4253 and PROTOCOL.u2f. DSA is not among them. */
const keyTypes =
  /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;
const minRsaBits = 2048;

export function instanceConnectService(state: RegionState): Service {
  function send({ principal, input, requestId, authorize }: Call): object {
    const { InstanceId: instanceId, InstanceOSUser: user, SSHPublicKey } = input as Record<string, string>;
    const node = state.nodes.get(instanceId!);
    authorize(
      { action: 'ec2-instance-connect:SendSSHPublicKey', conditions: { 'ec2:osuser': user! } },
      { arn: state.arn.node(instanceId!, principal.account), tags: node?.tags ?? {} },
    );
    const publicKey = readPublicKey(SSHPublicKey!);
    if (node === undefined || node.account !== principal.account) {
      throw new ServiceError('EC2InstanceNotFoundException', `Instance ${instanceId} not found.`);
    }
    if (node.state === 'pending') {
      throw new ServiceError(
        'EC2InstanceUnavailableException',
        `Instance ${instanceId} is currently unavailable.`,
        500,
      );
    }
    if (node.state !== 'running') {
      throw new ServiceError(
        'EC2InstanceStateInvalidException',
        `Unable to connect because the instance is not in a valid state: ${instanceId} is ${node.state}.`,
      );
    }
    const { accessKeyId, arn } = principal;
    const time = state.serviceTime();
    state.pushes.add({ time, instanceId: instanceId!, user: user!, publicKey, accessKeyId, arn }, node.publishKeys);
    return { RequestId: requestId, Success: true };
  }

  return {
    signingName: 'ec2-instance-connect',
    wire: jsonWire('AWSEC2InstanceConnectService'),
    throttledMessage: 'Server is busy! Please retry after a moment.', // As reported in public issues.
    operations: { SendSSHPublicKey: { input: sendSshPublicKey, run: send } },
  };
}

/** The line without its end. Throws InvalidArgsException for what is not one public key in OpenSSH's form. */
function readPublicKey(text: string): string {
  const line = text.replace(/\r?\n$/, '');
  const [, type = '', base64 = ''] = /^(\S+) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$/.exec(line) ?? [];
  const blob = Buffer.from(base64, 'base64');
  const named = blob.length >= 4 + type.length && blob.readUInt32BE(0) === type.length;
  if (!keyTypes.test(type) || !named || blob.toString('latin1', 4, 4 + type.length) !== type) {
    throw new ServiceError('InvalidArgsException', 'Invalid SSH public key.');
  }
  if (type === 'ssh-rsa' && rsaBits(blob) < minRsaBits) {
    throw new ServiceError('InvalidArgsException', `RSA keys must have ${minRsaBits} bits at least.`);
  }
  return line;
}

/** RFC 4253 section 6.6: `ssh-rsa`, exponent, modulus, each behind its length. 0 for what is not that. */
function rsaBits(blob: Buffer): number {
  const fields: Buffer[] = [];
  for (let at = 0; at + 4 <= blob.length; ) {
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return 0;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  const [, exponent, modulus] = fields;
  if (exponent === undefined || modulus === undefined) return 0;
  const key = createPublicKey({
    format: 'jwk',
    key: { kty: 'RSA', e: exponent.toString('base64url'), n: modulus.toString('base64url') },
  });
  return key.asymmetricKeyDetails?.modulusLength ?? 0;
}
