// EC2 (query protocol, version 2016-11-15), as far as keyhole asks it. Each operation has a file of its own.
import type { RegionState } from '../state.ts';
import { getConsoleOutput } from './ec2-console.ts';
import { describeInstanceConnectEndpoints } from './ec2-endpoints.ts';
import { describeInstances } from './ec2-instances.ts';
import { startInstances } from './ec2-start.ts';
import { type QueryDialect, queryWire } from './query-wire.ts';
import type { Service } from './service.ts';

const namespace = 'http://ec2.amazonaws.com/doc/2016-11-15/';
const notValidated = () => 'AWS was not able to validate the provided access credentials';

/** Names and statuses from EC2's list of error codes. */
const dialect: QueryDialect = {
  version: '2016-11-15',
  namespace,
  errors: {
    UnrecognizedClientException: { code: 'AuthFailure', status: 401, message: notValidated },
    InvalidSignatureException: { code: 'AuthFailure', status: 401, message: notValidated },
    IncompleteSignatureException: { code: 'AuthFailure', status: 401, message: notValidated },
    MissingAuthenticationTokenException: { code: 'AuthFailure', status: 401, message: notValidated },
    ExpiredTokenException: { code: 'RequestExpired', message: () => 'Request has expired.' },
    AccessDeniedException: {
      code: 'UnauthorizedOperation',
      status: 403,
      message: (message) => `You are not authorized to perform this operation. ${message}`,
    },
    ThrottlingException: { code: 'RequestLimitExceeded', status: 503, message: () => 'Request limit exceeded.' },
    ValidationException: { code: 'InvalidParameterValue' },
    InternalServerError: { code: 'InternalError', status: 500 },
    UnknownOperationException: { code: 'InvalidAction' },
  },
  envelope: (action, elements, requestId) =>
    `<${action}Response xmlns="${namespace}"><requestId>${requestId}</requestId>${elements}</${action}Response>`,
  errorEnvelope: (elements, requestId) =>
    `<Response><Errors><Error>${elements}</Error></Errors><RequestID>${requestId}</RequestID></Response>`,
};

export function ec2Service(state: RegionState): Service {
  return {
    signingName: 'ec2',
    wire: queryWire(dialect),
    operations: {
      GetConsoleOutput: getConsoleOutput(state),
      DescribeInstances: describeInstances(state),
      StartInstances: startInstances(state),
      DescribeInstanceConnectEndpoints: describeInstanceConnectEndpoints(state),
    },
  };
}
