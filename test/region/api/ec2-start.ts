// EC2's StartInstances. Names, states and errors: EC2's API reference and its list of error codes.
import { ServiceError } from '../errors.ts';
import type { ManagedNode, RegionState } from '../state.ts';
import { selectInstances, stateCodes } from './ec2-instances.ts';
import type { Call, Operation } from './service.ts';

export function startInstances(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      required: ['InstanceId'],
      members: { InstanceId: { type: 'list', min: 1, member: { type: 'string' } } },
    },
    run({ principal, input, authorize }: Call) {
      const ids = input.InstanceId as string[];
      const nodes = selectInstances(state, principal.account, ids);
      for (const id of ids) {
        const tags = nodes.find(({ instanceId }) => instanceId === id)?.tags ?? {};
        authorize('ec2:StartInstances', { arn: state.arn.node(id, principal.account), tags });
      }
      for (const { instanceId, state: now } of nodes) {
        if (['stopped', 'pending', 'running'].includes(now)) continue;
        throw new ServiceError(
          'IncorrectInstanceState',
          `The instance '${instanceId}' is not in a state from which it can be started.`,
        );
      }
      return { instancesSet: nodes.map((node) => start(node, state)) };
    },
  };
}

/** One that runs or starts is answered as it is. */
function start(node: ManagedNode, { boots, serviceTime }: RegionState): object {
  const before = node.state;
  if (before === 'stopped') boots.start(node, serviceTime());
  const after = before === 'stopped' ? 'pending' : before;
  return {
    instanceId: node.instanceId,
    currentState: { code: stateCodes[after], name: after },
    previousState: { code: stateCodes[before], name: before },
  };
}
