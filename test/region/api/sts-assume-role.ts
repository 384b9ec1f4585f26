// STS's AssumeRole, with MFA. Names and constraints: STS's API reference; the texts of refusals as reported in public issues.
import { randomBytes } from 'node:crypto';
import { ServiceError } from '../errors.ts';
import type { RoleOptions } from '../options.ts';
import type { RegionState } from '../state.ts';
import type { Call, Operation } from './service.ts';

interface Input {
  RoleArn: string;
  RoleSessionName: string;
  SerialNumber?: string;
  TokenCode?: string;
  DurationSeconds?: number;
}

export function assumeRole(state: RegionState, roles: Record<string, RoleOptions>): Operation {
  return {
    input: {
      type: 'structure',
      required: ['RoleArn', 'RoleSessionName'],
      members: {
        RoleArn: { type: 'string', min: 20, max: 2048 },
        RoleSessionName: { type: 'string', min: 2, max: 64, pattern: /^[\w+=,.@-]*$/ },
        SerialNumber: { type: 'string', min: 9, max: 256, pattern: /^[\w+=/:,.@-]*$/ },
        TokenCode: { type: 'string', min: 6, max: 6, pattern: /^[\d]*$/ },
        DurationSeconds: { type: 'integer', min: 900, max: 43200 },
        ExternalId: { type: 'string', min: 2, max: 1224 },
      },
    },
    run({ principal, input, authorize }: Call) {
      const { RoleArn, RoleSessionName, SerialNumber, TokenCode, DurationSeconds = 3600 } = input as unknown as Input;
      authorize('sts:AssumeRole', RoleArn);
      const role = roles[RoleArn];
      if (role === undefined || (role.mfa !== undefined && SerialNumber === undefined)) {
        throw new ServiceError(
          'AccessDeniedException',
          `User: ${principal.arn} is not authorized to perform: sts:AssumeRole on resource: ${RoleArn}`,
        );
      }
      if (SerialNumber !== undefined) checkCode(role, SerialNumber, TokenCode);
      const session = {
        accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
        secretAccessKey: randomBytes(20).toString('hex'),
        sessionToken: randomBytes(60).toString('base64'),
        expiresAt: state.serviceTime() + DurationSeconds * 1000,
      };
      const [, partition, account, name] = /^arn:([^:]+):iam::(\d+):role\/(.+)$/.exec(RoleArn)!;
      const arn = `arn:${partition}:sts::${account}:assumed-role/${name}/${RoleSessionName}`;
      const { userId } = state.identities.add({
        ...session,
        account: account!,
        arn,
        ...(role.policies && { policies: role.policies }),
      });
      return {
        Credentials: {
          AccessKeyId: session.accessKeyId,
          SecretAccessKey: session.secretAccessKey,
          SessionToken: session.sessionToken,
          Expiration: new Date(session.expiresAt).toISOString(),
        },
        AssumedRoleUser: { AssumedRoleId: userId, Arn: arn },
      };
    },
  };
}

/** A code that was used is not taken again. */
function checkCode({ mfa }: RoleOptions, serial: string, code: string | undefined): void {
  const at = mfa?.serial === serial && code !== undefined ? mfa.codes.indexOf(code) : -1;
  if (at >= 0) mfa!.codes.splice(at, 1);
  else {
    throw new ServiceError(
      'AccessDeniedException',
      'MultiFactorAuthentication failed with invalid MFA one time pass code. ',
    );
  }
}
