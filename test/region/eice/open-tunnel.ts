// The parameters of `GET /openTunnel` (protocol.md 9.2), read strictly: every one of ours once, nothing else but the
// signature's. Only the complaint about RemotePort has AWS's known words; the others follow its pattern.
import { isIP } from 'node:net';
import { ServiceError } from '../errors.ts';

export interface OpenTunnel {
  instanceConnectEndpointId: string;
  remotePort: number;
  privateIpAddress: string;
  /** Seconds; undefined where it was not sent. */
  maxTunnelDuration: number | undefined;
}

/** The service's own, where none is sent. */
export const defaultTunnelSeconds = 3600;

const names = ['instanceConnectEndpointId', 'remotePort', 'privateIpAddress', 'maxTunnelDuration'];

/** Throws InvalidParameter. */
export function readOpenTunnel(target: string): OpenTunnel {
  const query = new URLSearchParams(target.slice(target.indexOf('?')));
  const own = [...query.keys()].filter((name) => !name.startsWith('X-Amz-'));
  const stranger = own.find((name) => !names.includes(name));
  if (stranger !== undefined)
    throw new ServiceError('InvalidParameter', `The parameter ${stranger} is not recognized.`);
  const twice = own.find((name, at) => own.indexOf(name) !== at);
  if (twice !== undefined) throw invalid(twice, 'Specify it once');
  const [endpointId, port, address, duration] = names.map((name) => query.get(name));
  if (endpointId === null || !/^eice-[0-9a-z]+$/.test(endpointId!)) {
    throw invalid('InstanceConnectEndpointId', 'Specify the ID of an EC2 Instance Connect Endpoint');
  }
  if (port !== '22' && port !== '3389') {
    throw invalid('RemotePort', 'Specify either 22 or 3389 as the RemotePort');
  }
  if (isIP(address ?? '') === 0) throw invalid('PrivateIpAddress', 'Specify an IP address');
  return {
    instanceConnectEndpointId: endpointId!,
    remotePort: Number(port),
    privateIpAddress: address!,
    maxTunnelDuration: readDuration(duration ?? undefined),
  };
}

export function invalid(parameter: string, remedy: string): ServiceError {
  return new ServiceError(
    'InvalidParameter',
    `The specified ${parameter} is not valid. ${remedy} and retry your request.`,
  );
}

function readDuration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (seconds < 1 || seconds > 3600) throw invalid('MaxTunnelDuration', 'Specify a value between 1 and 3600');
  return seconds;
}
