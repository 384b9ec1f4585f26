// What an error of the AWS SDK means to the person at the keyboard: a stable code, what happened to which host,
// the usual cause on the account's side, and what to do. Pure. AWS's own text is shown only where it cannot hold
// a secret: a signature error quotes the request's headers, and with them the session token.
import { AwsError, KeyholeError } from '../errors.ts';

export interface CallContext {
  /** `ssm` */
  service: string;
  /** `StartSession` */
  operation: string;
  region: string;
  /** Where the credentials come from; undefined for keys in the environment. */
  profile: string | undefined;
  /** The profile behind it that somebody logs in with, where it is another one. */
  login?: string | undefined;
  /** Instance or node, where the call names one. */
  target?: string | undefined;
  document?: string | undefined;
  /** What a policy's conditions may look at, e.g. `ec2:osuser ec2-user`. */
  conditions?: string | undefined;
  /** Where the call went. */
  endpointHost?: string | undefined;
}

/** The parts of an SDK error that are relied on; any of them may be missing. */
interface SdkError {
  name?: string;
  message?: string;
  code?: string;
  cause?: unknown;
  $fault?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string; clockSkewCorrected?: boolean };
}

interface Advice {
  code: string;
  message: string;
  hint?: string;
  retryable?: boolean;
}

export function adviseAwsError(error: unknown, context: CallContext): KeyholeError {
  if (error instanceof KeyholeError) return error;
  const sdk = (typeof error === 'object' && error !== null ? error : { message: String(error) }) as SdkError;
  const advice = credentialsAdvice(sdk, context) ?? networkAdvice(sdk, context) ?? answerAdvice(sdk, context);
  return new AwsError(advice.code, advice.message, {
    service: context.service,
    apiCode: sdk.name ?? 'Error',
    ...(advice.hint !== undefined && { hint: advice.hint }),
    ...(sdk.$metadata?.requestId !== undefined && { requestId: sdk.$metadata.requestId }),
    retryable: advice.retryable ?? false,
    cause: error,
  });
}

/** AWS answered with an error. */
function answerAdvice(error: SdkError, context: CallContext): Advice {
  const { operation, region } = context;
  const target = context.target ?? 'the session';
  const status = error.$metadata?.httpStatusCode ?? 0;
  const name = error.name ?? '';
  switch (name) {
    case 'TargetNotConnected':
    case 'InvalidInstanceId': // Run Command's name for it, also of one that it never heard of
      return {
        code: 'target-not-connected',
        message: `${target} is not connected to Systems Manager in ${region} (credentials ${source(context)})`,
        hint: 'is it running, in this region and account, with the SSM agent up and a role with AmazonSSMManagedInstanceCore?',
      };
    case 'InvalidInstanceID.NotFound':
    case 'InvalidInstanceID.Malformed':
      return {
        code: 'instance-unknown',
        message: `EC2 knows no ${target} in ${region} (credentials ${source(context)})`,
        hint: 'is it in this region and account, and has it not been terminated long ago?',
      };
    case 'EC2InstanceStateInvalidException':
      return { code: 'instance-stopped', message: `${target} does not run, and so takes no key` };
    case 'AccessDeniedException':
    case 'AccessDenied':
    case 'UnauthorizedOperation': // EC2's name for it
      return accessDenied(error, context);
    case 'InvalidDocument':
      return documentUnknown(context);
    case 'DoesNotExistException':
      return { code: 'session-gone', message: `the session with ${target} no longer exists in ${region}` };
    case 'ExpiredTokenException':
    case 'ExpiredToken':
    case 'TokenRefreshRequired':
      return {
        code: 'credentials-expired',
        message: `the AWS credentials ${source(context)} have expired`,
        hint: `get new ones${context.profile === undefined ? '' : `, for example with aws sso login --profile ${context.profile}`}`,
      };
    case 'UnrecognizedClientException':
    case 'InvalidClientTokenId':
    case 'MissingAuthenticationTokenException':
    case 'IncompleteSignatureException':
    case 'OptInRequired':
      return unknownCredentials(context);
    case 'AuthFailure': // EC2's name for all of them, and for a wrong clock: then the SDK has learned AWS's from the answer
      return error.$metadata?.clockSkewCorrected ? signatureRefused(error, context) : unknownCredentials(context);
    case 'InvalidSignatureException':
    case 'SignatureDoesNotMatch':
    case 'RequestExpired':
    case 'RequestTimeTooSkewed':
    case 'RequestInTheFuture':
      return signatureRefused(error, context);
    case 'ValidationException':
    case 'InvalidParameters':
      return { code: 'request-refused', message: `AWS refused ${operation} for ${target}: ${said(error)}` };
  }
  if (status === 429 || /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown/.test(name)) {
    return {
      code: 'throttled',
      message: `AWS is throttling ${operation} in ${region}`,
      hint:
        operation === 'StartSession'
          ? 'too many sessions are started at once in this account and region (quota: 3 per second)'
          : 'too many calls are made at once in this account and region',
      retryable: true,
    };
  }
  if (status >= 500 || name === 'InternalServerError') {
    return {
      code: 'aws-unavailable',
      message: `AWS answered ${operation} in ${region} with an internal error${status > 0 ? ` (HTTP ${status})` : ''}`,
      hint: 'it usually passes; health.aws.amazon.com shows disturbances',
      retryable: true,
    };
  }
  return { code: 'aws-error', message: `${operation} for ${target} failed with ${name || 'an error'}: ${said(error)}` };
}

function documentUnknown({ operation, document = '', region }: CallContext): Advice {
  const [kind, hint] =
    operation === 'SendCommand'
      ? ['command', 'keyhole policy --push-document and --host-keys-document print those that push and host_keys need']
      : ['session', 'check the setting ssh_document; AWS-StartSSHSession exists in every region'];
  return {
    code: 'document-unknown',
    message: `there is no ${kind} document ${document} in ${region}`.replace('  ', ' '),
    hint: hint!,
  };
}

/** StartSession is allowed or denied on the node and on the document separately (protocol.md 1.1): say on which. */
function accessDenied(error: SdkError, context: CallContext): Advice {
  const text = error.message ?? '';
  const action = /perform: ([A-Za-z0-9-]+:[A-Za-z0-9]+)/.exec(text)?.[1] ?? `${context.service}:${context.operation}`;
  const resource = /on resource: (arn:[^\s]+)/.exec(text)?.[1];
  const user = /User: (arn:[^\s]+)/.exec(text)?.[1];
  const explicit = /explicit deny/.test(text) ? ', by an explicit deny' : '';
  const what =
    resource === undefined
      ? ['', '']
      : /:document\//.test(resource)
        ? ['-document', ` with document ${resource.split('document/')[1]}`]
        : /:(managed-)?instance\//.test(resource)
          ? ['-target', ` on ${resource.split('/').pop()}`]
          : ['', ` on ${resource}`];
  const anyResource =
    context.service === 'ssm'
      ? `both the instance and the ${context.operation === 'SendCommand' ? 'command' : 'session'} document`
      : '*';
  const conditions = context.conditions === undefined ? '' : ` (${context.conditions})`;
  return {
    code: `access-denied${what[0]}`,
    message: `AWS denies ${clean(action)}${clean(what[1]!)}${conditions} to ${clean(user ?? `the credentials ${source(context)}`)}${explicit}`,
    hint: `its policy must allow ${clean(action)} on ${clean(resource ?? anyResource)}`,
  };
}

function unknownCredentials(context: CallContext): Advice {
  return {
    code: 'credentials-invalid',
    message: `AWS in ${context.region} does not know the credentials ${source(context)}`,
    hint: 'does aws sts get-caller-identity work with them, and is the region enabled in this account?',
  };
}

function signatureRefused(error: SdkError, context: CallContext): Advice {
  const skewed =
    error.$metadata?.clockSkewCorrected ||
    /Signature (expired|not yet current)/.test(error.message ?? '') ||
    /^Request/.test(error.name ?? '');
  if (/scoped to a valid region/.test(error.message ?? '')) {
    return {
      code: 'wrong-region',
      message: `AWS at ${context.endpointHost ?? 'this endpoint'} serves another region than ${context.region}`,
      hint: 'the endpoint of the settings (AWS_ENDPOINT_URL…, endpoint_url) and the region of the host or of AWS_REGION differ',
    };
  }
  if (!skewed) {
    return {
      code: 'credentials-invalid',
      message: `AWS refuses the signature made with the credentials ${source(context)}`,
      hint: 'the secret access key does not belong to the access key id',
    };
  }
  return {
    code: 'clock-skew',
    message: 'AWS refuses the signature because the clock of this machine is wrong',
    hint: 'set the clock (timedatectl shows whether it is synchronised)',
    // The SDK has learned AWS's time from the answer by now and signs the next attempt with it. Whether it says so cannot
    // be relied on: it does not where the clock was wrong, its offset is known, and the clock has been set (observed, 3.1169).
    retryable: true,
  };
}

/** There was nothing to sign with. */
function credentialsAdvice(error: SdkError, { profile = 'default', login = profile }: CallContext): Advice | undefined {
  const text = error.message ?? '';
  if (/MultiFactorAuthentication failed/.test(text)) {
    return {
      code: 'mfa-refused',
      message: `AWS refuses the MFA code for profile ${profile}`,
      hint: 'a code is good once and for half a minute: wait for the next one; is it the right device?',
    };
  }
  if (!/CredentialsProviderError|TokenProviderError|CredentialsError/.test(error.name ?? '')) return undefined;
  if (/^Command failed: /.test(text)) {
    const [, ...stderr] = text.split('\n');
    const reason = clean(stderr.find((line) => line.trim() !== '') ?? '').slice(0, 200);
    return {
      code: 'credential-process-failed',
      message: `the credential_process of profile ${login} failed: ${reason === '' ? 'it ended with an error and said nothing' : reason}`,
      hint: 'run that command by hand; it must print credentials as JSON',
    };
  }
  if (/credential_process/.test(text)) {
    return {
      code: 'credential-process-failed',
      message: `the credential_process of profile ${login} failed: ${said(error)}`,
      hint: 'run that command by hand; it must print credentials as JSON',
    };
  }
  if (/\bSSO\b|sso_|aws sso login|Token is expired/.test(text)) {
    return {
      code: 'sso-expired',
      message: `the SSO login of profile ${login} is missing or has expired`,
      hint: `aws sso login --profile ${login}`,
    };
  }
  if (/aws login|login_session|reauthenticate|Failed to (?:load|refresh) token/.test(text)) {
    return {
      code: 'login-expired',
      message: `the login of profile ${login} is missing or has expired`,
      hint: `aws login --profile ${login}`,
    };
  }
  if (/multi-factor|MFA/.test(text)) {
    return {
      code: 'mfa-needed',
      message: `profile ${profile} assumes a role that wants an MFA code`,
      hint: 'connect once from a terminal: the daemon then knows the credentials until they end',
    };
  }
  return {
    code: 'no-credentials',
    message: `there are no AWS credentials for profile ${profile}`,
    hint: 'set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure',
  };
}

/** The call got no answer. */
function networkAdvice(error: SdkError, context: CallContext): Advice | undefined {
  const code = error.code ?? (error.cause as SdkError | undefined)?.code ?? '';
  const host = context.endpointHost ?? `the ${context.service} endpoint`;
  const status = error.$metadata?.httpStatusCode;
  // AWS gives every answer a request id, and every refusal a name.
  if (
    status !== undefined &&
    status < 500 &&
    /^Unknown(Error)?$/.test(error.name ?? '') &&
    !error.$metadata?.requestId
  ) {
    return {
      code: 'endpoint-unreachable',
      message: `something on the way to ${host} answered with HTTP ${status} in place of AWS`,
      hint: 'does the proxy in HTTPS_PROXY let this host through, with these credentials? NO_PROXY names hosts that need none',
    };
  }
  if (status !== undefined) return undefined;
  if (error.name === 'AbortError') {
    return { code: 'interrupted', message: `${context.operation} was given up before AWS answered` };
  }
  if (/^(ENOTFOUND|EAI_)/.test(code)) {
    return {
      code: 'endpoint-unresolved',
      message: `the name ${host} cannot be resolved (${code})`,
      hint: `is the network up, and is ${context.region} the right region?`,
      retryable: code === 'EAI_AGAIN',
    };
  }
  if (/^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_|ERR_SSL_|EPROTO$|HOSTNAME_MISMATCH)/.test(code)) {
    return {
      code: 'tls-failed',
      message: `no trusted TLS connection to ${host} (${code})`,
      hint: 'if a proxy inspects TLS, AWS_CA_BUNDLE must name the file with its certificate authority',
    };
  }
  if (error.name === 'TimeoutError' || code === 'ETIMEDOUT') {
    return {
      code: 'endpoint-timeout',
      message: `${host} did not answer in time`,
      hint: 'is port 443 open to it, directly or through a VPC endpoint?',
      retryable: true,
    };
  }
  if (/^(ECONN|EHOST|ENET|EPIPE|EADDR)/.test(code)) {
    return {
      code: 'endpoint-unreachable',
      message: `${host} cannot be reached (${code})`,
      hint: 'is the network up, and is port 443 open to it?',
      retryable: true,
    };
  }
  return undefined;
}

function source({ profile }: CallContext): string {
  return profile === undefined ? 'from the environment' : `of profile ${profile}`;
}

/** AWS's text, one printable line of bounded length. */
function said(error: SdkError): string {
  return clean(error.message ?? 'no further word').slice(0, 300);
}

function clean(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ').trimEnd();
}
