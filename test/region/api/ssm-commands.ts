// SendCommand to named nodes, and GetCommandInvocation. Constraints: SSM's service model 2014-11-06.
import { renderScript } from '../commands/command-documents.ts';
import { ServiceError } from '../errors.ts';
import { connected, type RegionState } from '../state.ts';
import type { Call, Operation } from './service.ts';

const instanceId = { type: 'string', pattern: /^(i-(\w{8}|\w{17})|mi-\w{17})$/ } as const;

interface SendCommandInput {
  InstanceIds: string[];
  DocumentName: string;
  Parameters?: Record<string, string[]>;
  Comment?: string;
}

export function sendCommand(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      required: ['DocumentName', 'InstanceIds'],
      members: {
        InstanceIds: { type: 'list', min: 1, max: 1, member: instanceId },
        DocumentName: { type: 'string', pattern: /^[a-zA-Z0-9_\-.:/]{3,128}$/ },
        TimeoutSeconds: { type: 'integer', min: 30, max: 2_592_000 },
        Comment: { type: 'string', max: 100 },
        Parameters: {
          type: 'map',
          key: { type: 'string', min: 1, max: 255 },
          value: { type: 'list', member: { type: 'string' } },
        },
      },
    },
    run({ principal, input, authorize }: Call) {
      const { InstanceIds, DocumentName, Parameters = {}, Comment = '' } = input as unknown as SendCommandInput;
      const [target] = InstanceIds as [string];
      const node = state.nodes.get(target);
      const document = state.commandDocuments.find(DocumentName);
      const tags = node?.account === principal.account ? node.tags : {};
      authorize('ssm:SendCommand', state.arn.document(document, principal.account));
      authorize('ssm:SendCommand', { arn: state.arn.node(target, principal.account), tags });
      const script = renderScript(document, Parameters);
      if (node === undefined || node.account !== principal.account || !connected(node)) {
        const account = principal.account;
        throw new ServiceError(
          'InvalidInstanceId',
          `Instances [[${target}]] not in a valid state for account ${account}`,
        );
      }
      const { commandId } = state.commands.send(node, script, {
        documentName: document.name,
        parameters: Parameters,
        comment: Comment,
        accessKeyId: principal.accessKeyId,
      });
      const Command = { CommandId: commandId, DocumentName, Comment, InstanceIds, Parameters };
      return { Command: { ...Command, Status: 'Pending', StatusDetails: 'Pending', TargetCount: 1 } };
    },
  };
}

export function getCommandInvocation(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      required: ['CommandId', 'InstanceId'],
      members: {
        CommandId: { type: 'string', min: 36, max: 36 },
        InstanceId: instanceId,
        PluginName: { type: 'string', min: 4 },
      },
    },
    run({ principal, input, authorize }: Call) {
      authorize('ssm:GetCommandInvocation', state.arn.any(principal.account));
      const found = state.commands.find(input.CommandId as string, input.InstanceId as string);
      if (found === undefined) throw new ServiceError('InvocationDoesNotExist', '');
      return {
        CommandId: found.commandId,
        InstanceId: found.instanceId,
        DocumentName: found.documentName,
        Comment: found.comment,
        Status: found.status,
        StatusDetails: found.statusDetails,
        ResponseCode: found.responseCode,
        StandardOutputContent: found.stdout,
        StandardErrorContent: found.stderr,
      };
    },
  };
}
