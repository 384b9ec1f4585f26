// EC2's GetConsoleOutput: what an instance wrote to its console, of which EC2 keeps the last 64 KB. `Latest` is for instances
// on Nitro; the others have it as of some minutes after the last start.
import { ServiceError } from '../errors.ts';
import type { RegionState } from '../state.ts';
import type { Call, Operation } from './service.ts';

const keptBytes = 64 * 1024;

export function getConsoleOutput(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      required: ['InstanceId'],
      members: { InstanceId: { type: 'string' }, Latest: { type: 'string', values: ['true', 'false'] } },
    },
    run({ principal, input, authorize }: Call) {
      const instanceId = input.InstanceId as string;
      const node = state.nodes.get(instanceId);
      const known = node?.account === principal.account ? node : undefined;
      authorize('ec2:GetConsoleOutput', {
        arn: state.arn.node(instanceId, principal.account),
        tags: known?.tags ?? {},
      });
      if (known === undefined) {
        throw new ServiceError('InvalidInstanceID.NotFound', `The instance ID '${instanceId}' does not exist`);
      }
      if (input.Latest === 'true' && known.hypervisor === 'xen') {
        throw new ServiceError(
          'UnsupportedOperation',
          'This instance type does not support retrieving the latest output.',
        );
      }
      const output = Buffer.from(known.consoleOutput, 'latin1').subarray(-keptBytes);
      return {
        instanceId,
        timestamp: new Date(state.serviceTime()).toISOString(),
        output: output.length === 0 ? undefined : output.toString('base64'),
      };
    },
  };
}
