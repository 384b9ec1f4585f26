// AWS STS (query protocol, version 2011-06-15): GetCallerIdentity, which no policy can forbid, and AssumeRole.
import type { RoleOptions } from '../options.ts';
import type { RegionState } from '../state.ts';
import { type QueryDialect, queryWire } from './query-wire.ts';
import type { Call, Service } from './service.ts';
import { assumeRole } from './sts-assume-role.ts';

const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/';

/** Names and statuses from STS's common errors. */
const dialect: QueryDialect = {
  version: '2011-06-15',
  namespace,
  errors: {
    UnrecognizedClientException: { code: 'InvalidClientTokenId', status: 403 },
    InvalidSignatureException: { code: 'SignatureDoesNotMatch', status: 403 },
    IncompleteSignatureException: { code: 'IncompleteSignature' },
    MissingAuthenticationTokenException: { code: 'MissingAuthenticationToken', status: 403 },
    ExpiredTokenException: { code: 'ExpiredToken', status: 403 },
    AccessDeniedException: { code: 'AccessDenied', status: 403 },
    ThrottlingException: { code: 'Throttling' },
    ValidationException: { code: 'ValidationError' },
    InternalServerError: { code: 'InternalFailure', status: 500 },
    UnknownOperationException: { code: 'InvalidAction' },
  },
  envelope: (action, elements, requestId) =>
    `<${action}Response xmlns="${namespace}"><${action}Result>${elements}</${action}Result>` +
    `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${action}Response>`,
  errorEnvelope: (elements, requestId) =>
    `<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type>${elements}</Error>` +
    `<RequestId>${requestId}</RequestId></ErrorResponse>`,
};

export function stsService(state: RegionState, roles: Record<string, RoleOptions>): Service {
  return {
    signingName: 'sts',
    wire: queryWire(dialect),
    operations: {
      GetCallerIdentity: {
        input: { type: 'structure', members: {} },
        run: ({ principal }: Call) => ({
          UserId: principal.userId,
          Account: principal.account,
          Arn: principal.arn,
        }),
      },
      AssumeRole: assumeRole(state, roles),
    },
  };
}
