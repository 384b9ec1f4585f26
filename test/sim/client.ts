// The product's channel as the simulation runs it.
import { DataChannel } from '../../src/ssm/channel.ts';
import type { MakeClient } from './world.ts';

export const makeClient: MakeClient = (options) =>
  new DataChannel({ clientVersion: '1.2.896.0', maxMessagesPerSecond: 900, ...options });
