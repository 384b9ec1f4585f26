// SendCommand, and GetCommandInvocation until the command has ended, through the AWS SDK. What a
// status means: Systems Manager, "Understanding command statuses".
import { GetCommandInvocationCommand, type GetCommandInvocationResult, SendCommandCommand } from '@aws-sdk/client-ssm';
import { sleep } from '../clock.ts';
import { AwsError, KeyholeError, ProtocolError } from '../errors.ts';
import { printable } from '../printable.ts';
import type { CommandOptions, CommandRequest } from './command-api.ts';

/** AWS's least: after it a node that did not take the command is given up. Our own patience ends sooner. */
const deliveryTimeoutSeconds = 30;
/** A command that does nothing but write a line takes the agent half a second or so. */
const firstLookMs = 300;
const maxLookMs = 1_000;

export async function runCommand(
  { client, region, call, clock }: CommandOptions,
  { target, documentName, parameters, comment }: CommandRequest,
  signal: AbortSignal,
): Promise<string> {
  const send = new SendCommandCommand({
    InstanceIds: [target],
    DocumentName: documentName,
    Parameters: parameters,
    TimeoutSeconds: deliveryTimeoutSeconds,
    Comment: comment.slice(0, 100),
  });
  const sending = { operation: 'SendCommand', target, document: documentName };
  const { Command } = await call(sending, (options) => client.send(send, options), signal);
  if (!Command?.CommandId) {
    throw new ProtocolError('bad-answer', 'AWS answered SendCommand without the id of a command', { side: 'remote' });
  }
  const look = new GetCommandInvocationCommand({ CommandId: Command.CommandId, InstanceId: target });
  const looking = { operation: 'GetCommandInvocation', target };
  for (let ms = firstLookMs; ; ms = Math.min(ms * 1.5, maxLookMs)) {
    await sleep(clock, ms, signal);
    try {
      const invocation = await call(looking, (options) => client.send(look, options), signal);
      if (invocation.Status === 'Success') return invocation.StandardOutputContent ?? '';
      if (isOver(invocation)) throw failure(invocation, target, region);
    } catch (error) {
      // AWS takes a moment until it knows everywhere what it has just taken.
      if (!(error instanceof AwsError) || error.apiCode !== 'InvocationDoesNotExist') throw error;
    }
  }
}

function isOver({ Status }: GetCommandInvocationResult): boolean {
  return Status === 'Failed' || Status === 'TimedOut' || Status === 'Cancelled';
}

function failure(invocation: GetCommandInvocationResult, target: string, region: string): KeyholeError {
  const { StatusDetails = '', Status = '', StandardErrorContent = '' } = invocation;
  const how = StatusDetails || Status;
  if (/^(Delivery ?Timed ?Out|Undeliverable)$/i.test(how)) {
    return new KeyholeError('command-undelivered', `${target} did not take a command in ${region} (${how})`, {
      hint: 'is its SSM agent running, and not busy with other commands?',
    });
  }
  const [said] = StandardErrorContent.split('\n').filter((line) => line.trim() !== '');
  const why = said === undefined ? `it ended as ${how}` : said.replace(/^keyhole: /, '');
  return new KeyholeError('command-failed', `the command on ${target} failed: ${printable(why).slice(0, 300)}`);
}
