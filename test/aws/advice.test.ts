import t from 'tap';
import { adviseAwsError, type CallContext } from '../../src/aws/advice.ts';
import { AwsError, TransportError } from '../../src/errors.ts';

const context: CallContext = {
  service: 'ssm',
  operation: 'StartSession',
  region: 'eu-west-1',
  profile: 'prod',
  target: 'i-0123456789abcdef0',
  document: 'AWS-StartSSHSession',
  endpointHost: 'ssm.eu-west-1.amazonaws.com',
};

function answered(name: string, message = '', status = 400, more: object = {}): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode: status, requestId: 'r-1' }, ...more });
}

function failed(code: string, more: object = {}): Error {
  return Object.assign(new Error(`connect ${code} 10.0.0.1:443`), { code, ...more });
}

function notProvided(message: string): Error {
  return Object.assign(new Error(message), { name: 'CredentialsProviderError' });
}

const user = 'User: arn:aws:iam::111122223333:user/alice is not authorized to perform: ssm:StartSession on resource: ';

/** What AWS or the SDK says → code, text in message or hint, whether it is worth another try. */
const table: [Error, string, RegExp, boolean][] = [
  [
    answered('TargetNotConnected', 'x is not connected.'),
    'target-not-connected',
    /i-0123456789abcdef0 is not connected .* eu-west-1/,
    false,
  ],
  [
    answered(
      'AccessDeniedException',
      `${user}arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0 because no identity-based policy allows`,
    ),
    'access-denied-target',
    /denies ssm:StartSession on i-0123456789abcdef0 to arn:aws:iam::111122223333:user\/alice/,
    false,
  ],
  [
    answered(
      'AccessDeniedException',
      `${user}arn:aws:ssm:eu-west-1:111122223333:managed-instance/mi-0123456789abcdef0`,
    ),
    'access-denied-target',
    /on mi-0123456789abcdef0/,
    false,
  ],
  [
    answered(
      'AccessDeniedException',
      `${user}arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession with an explicit deny in a service control policy`,
    ),
    'access-denied-document',
    /with document AWS-StartSSHSession .*by an explicit deny.*must allow ssm:StartSession on arn:aws:ssm:eu-west-1::document\/AWS-StartSSHSession/s,
    false,
  ],
  [
    answered('AccessDeniedException', 'no further word'),
    'access-denied',
    /both the instance and the session document/,
    false,
  ],
  [answered('InvalidDocument'), 'document-unknown', /no session document AWS-StartSSHSession in eu-west-1/, false],
  [
    answered('ExpiredTokenException', 'The security token included in the request is expired'),
    'credentials-expired',
    /of profile prod have expired.*sso login/s,
    false,
  ],
  [
    answered('UnrecognizedClientException'),
    'credentials-invalid',
    /does not know the credentials of profile prod/,
    false,
  ],
  [
    answered('InvalidSignatureException', 'The request signature we calculated does not match'),
    'credentials-invalid',
    /secret access key/,
    false,
  ],
  [
    answered('InvalidSignatureException', "Credential should be scoped to a valid region, not 'eu-west-1'."),
    'wrong-region',
    /ssm\.eu-west-1\.amazonaws\.com serves another region than eu-west-1/,
    false,
  ],
  [
    answered('InvalidSignatureException', 'Signature expired: 20260102T030405Z is now earlier than'),
    'clock-skew',
    /clock of this machine/,
    true,
  ],
  [
    answered('InvalidSignatureException', 'Signature not yet current', 400, {
      $metadata: { httpStatusCode: 400, clockSkewCorrected: true },
    }),
    'clock-skew',
    /clock/,
    true,
  ],
  [
    answered('AuthFailure', 'AWS was not able to validate the provided access credentials', 401, {
      $metadata: { httpStatusCode: 401, clockSkewCorrected: true },
    }),
    'clock-skew',
    /clock/,
    true,
  ],
  [answered('ThrottlingException', 'Rate exceeded'), 'throttled', /throttling StartSession.*3 per second/s, true],
  [
    answered('Unknown', 'UnknownError', 407, { $metadata: { httpStatusCode: 407 } }),
    'endpoint-unreachable',
    /HTTP 407 in place of AWS.*HTTPS_PROXY/s,
    false,
  ],
  [answered('SomethingNew', '', 429), 'throttled', /throttling/, true],
  [answered('InternalServerError', '', 500), 'aws-unavailable', /HTTP 500/, true],
  [answered('ServiceUnavailable', '', 503), 'aws-unavailable', /HTTP 503/, true],
  [answered('ValidationException', 'Value at target failed'), 'request-refused', /Value at target failed/, false],
  [answered('DoesNotExistException'), 'session-gone', /no longer exists/, false],
  [
    answered('NeverSeenBefore', 'odd'),
    'aws-error',
    /StartSession for i-0123456789abcdef0 failed with NeverSeenBefore: odd/,
    false,
  ],
  [
    notProvided(
      'The SSO session associated with this profile has expired. To refresh this SSO session run aws sso login',
    ),
    'sso-expired',
    /aws sso login --profile prod/,
    false,
  ],
  [notProvided('Token is expired. To refresh this SSO session run'), 'sso-expired', /SSO login of profile prod/, false],
  [
    notProvided('Command failed: /bin/false HIDDEN-ARGUMENT\n'),
    'credential-process-failed',
    /credential_process of profile prod/,
    false,
  ],
  [
    notProvided('Profile prod credential_process returned invalid JSON.'),
    'credential-process-failed',
    /invalid JSON/,
    false,
  ],
  [
    notProvided('Profile prod requires multi-factor authentication, but no MFA code callback was provided.'),
    'mfa-needed',
    /MFA/,
    false,
  ],
  [notProvided('Could not load credentials from any providers'), 'no-credentials', /no AWS credentials/, false],
  [failed('ENOTFOUND'), 'endpoint-unresolved', /ssm\.eu-west-1\.amazonaws\.com.*is eu-west-1 the right region/s, false],
  [failed('EAI_AGAIN'), 'endpoint-unresolved', /network up/, true],
  [failed('ECONNREFUSED'), 'endpoint-unreachable', /cannot be reached \(ECONNREFUSED\)/, true],
  [failed('ENETUNREACH'), 'endpoint-unreachable', /network/, true],
  [failed('', { cause: failed('ECONNRESET'), code: undefined }), 'endpoint-unreachable', /ECONNRESET/, true],
  [failed('SELF_SIGNED_CERT_IN_CHAIN'), 'tls-failed', /AWS_CA_BUNDLE/, false],
  [failed('UNABLE_TO_GET_ISSUER_CERT_LOCALLY'), 'tls-failed', /no trusted TLS connection/, false],
  [failed('ETIMEDOUT', { name: 'TimeoutError' }), 'endpoint-timeout', /did not answer in time/, true],
  [failed('', { name: 'AbortError' }), 'interrupted', /given up/, false],
];

for (const [error, code, text, retryable] of table) {
  t.test(`${error.name} ${JSON.stringify(error.message.slice(0, 40))} is ${code}`, async (t) => {
    const advised = adviseAwsError(error, context) as AwsError;
    t.ok(advised instanceof AwsError);
    t.match(advised, { code, retryable, cause: error, exitStatus: 1 });
    t.match(`${advised.message}\n${advised.hint}`, text);
    t.notMatch(`${advised.message}${advised.hint}`, /HIDDEN/, 'no argument of a command is shown');
  });
}

t.test("the text of a signature error stays out of ours, since it quotes the request's headers", async (t) => {
  const error = answered('InvalidSignatureException', "The Canonical String was 'x-amz-security-token:SECRET'");
  t.notMatch(JSON.stringify(adviseAwsError(error, context)), /SECRET/);
});

t.test("AWS's text is one printable line of bounded length", async (t) => {
  const error = answered('ValidationException', `a\u001b[2J\nb${'x'.repeat(1000)}`);
  const { message } = adviseAwsError(error, context);
  t.match(message, /: a \[2J b/);
  t.match(message, /^[\x20-\x7e]{1,400}$/);
});

t.test('without a profile the credentials are said to be from the environment', async (t) => {
  const { message, hint } = adviseAwsError(answered('ExpiredToken'), { ...context, profile: undefined });
  t.equal(message, 'the AWS credentials from the environment have expired');
  t.notMatch(hint, /profile/);
});

t.test('our own errors pass untouched, and what is no error becomes one', async (t) => {
  const own = new TransportError('deadline', 'too late');
  t.equal(adviseAwsError(own, context), own);
  t.match(adviseAwsError('odd', context), { code: 'aws-error', message: /odd/ });
});
