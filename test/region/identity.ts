// Who calls and what they may: access keys, their principals, and the policies these carry (iam/policy.ts). Messages are
// IAM's.
import { createHash } from 'node:crypto';
import { ServiceError } from './errors.ts';
import type { Context } from './iam/conditions.ts';
import { checkPolicy, type Decision, decide, type PolicyDocument } from './iam/policy.ts';
import { type AccessKeyOptions, type Denial, defaults } from './options.ts';
import type { SigningKey } from './sigv4.ts';

/** What is asked of IAM; a bare name has no condition keys of its own. */
export type Access = string | { action: string; conditions: Context };

/** A bare ARN has no tags; `*` stands for the lack of a resource. */
export type Resource = string | { arn: string; tags: Record<string, string> };

/** Where a request comes from. */
export interface Origin {
  sourceIp: string;
  /** Over TLS. */
  secure: boolean;
}

export interface Principal extends SigningKey {
  account: string;
  arn: string;
  /** What session ids begin with: the IAM user's or the role session's name. */
  sessionName: string;
  /** `aws:userid`: an IAM user's is `AIDA…`, an assumed role's `AROA…:SESSION`. */
  userId: string;
  /** Undefined: everything is allowed. */
  policies: PolicyDocument[] | undefined;
}

export class Identities {
  /** Changeable while the region runs. */
  readonly denials: Denial[];
  readonly #keys = new Map<string, Principal>();
  readonly #of: { account: string; partition: string; region: string };

  constructor(keys: AccessKeyOptions[], denials: Denial[], of: { account: string; partition: string; region: string }) {
    this.denials = [...denials];
    this.#of = of;
    for (const key of keys) this.add(key);
  }

  /** Adds a key, or replaces the one of the same id. Throws for a policy that IAM would not take. */
  add(key: AccessKeyOptions): Principal {
    const account = key.account ?? this.#of.account;
    const arn = key.arn ?? `arn:${this.#of.partition}:iam::${account}:user/alice`;
    const sessionName = arn.slice(arn.lastIndexOf('/') + 1);
    for (const policy of key.policies ?? []) checkPolicy(policy);
    const principal: Principal = {
      accessKeyId: key.accessKeyId,
      secretAccessKey: key.secretAccessKey,
      sessionToken: key.sessionToken,
      expiresAt: key.expiresAt,
      account,
      arn,
      sessionName,
      userId: uniqueId(arn),
      policies: key.policies,
    };
    this.#keys.set(key.accessKeyId, principal);
    return principal;
  }

  /** From now on the key is an expired one; without an id every key is. Throws if there is none of that id. */
  expire(accessKeyId?: string): void {
    const keys = accessKeyId === undefined ? [...this.#keys.values()] : [this.#keys.get(accessKeyId)];
    for (const key of keys) {
      if (key === undefined) throw new Error(`there is no key ${accessKeyId}`);
      key.expiresAt = 0;
    }
  }

  /** From now on the key's owner may do what these allow and nothing else; undefined: everything. */
  setPolicies(accessKeyId: string, policies: PolicyDocument[] | undefined): void {
    const principal = this.#keys.get(accessKeyId);
    if (principal === undefined) throw new Error(`there is no key ${accessKeyId}`);
    for (const policy of policies ?? []) checkPolicy(policy);
    principal.policies = policies;
  }

  remove(accessKeyId: string): void {
    this.#keys.delete(accessKeyId);
  }

  find(accessKeyId: string): Principal | undefined {
    return this.#keys.get(accessKeyId);
  }

  /** Whether the principal may do this on every resource. */
  allows(principal: Principal, origin: Origin, access: Access, ...resources: Resource[]): boolean {
    return resources.every((resource) => this.#decide(principal, origin, access, resource) === 'allowed');
  }

  /** Throws AccessDeniedException in IAM's words unless the principal may do this on every resource. */
  authorize(principal: Principal, origin: Origin, access: Access, ...resources: Resource[]): void {
    const action = typeof access === 'string' ? access : access.action;
    for (const resource of resources) {
      const decision = this.#decide(principal, origin, access, resource);
      if (decision === 'allowed') continue;
      const arn = typeof resource === 'string' ? resource : resource.arn;
      const on = arn === '*' ? '' : ` on resource: ${arn}`;
      const because =
        decision === 'denied explicitly'
          ? 'with an explicit deny in an identity-based policy'
          : `because no identity-based policy allows the ${action} action`;
      throw new ServiceError(
        'AccessDeniedException',
        `User: ${principal.arn} is not authorized to perform: ${action}${on} ${because}`,
      );
    }
  }

  #decide(principal: Principal, origin: Origin, access: Access, resource: Resource): Decision {
    const { action, conditions } = typeof access === 'string' ? { action: access, conditions: {} } : access;
    const { arn, tags } = typeof resource === 'string' ? { arn: resource, tags: {} } : resource;
    const request = {
      action,
      resource: arn,
      context: { ...this.#globalKeys(principal, origin), ...tagKeys(action, tags), ...conditions },
    };
    const denials: PolicyDocument = { Version: '2012-10-17', Statement: this.denials.map(toStatement) };
    return decide([denials, ...(principal.policies ?? [everything])], request);
  }

  #globalKeys({ arn, account, userId, sessionName }: Principal, { sourceIp, secure }: Origin): Context {
    const isRole = isRoleSession(arn);
    return {
      'aws:PrincipalAccount': account,
      'aws:PrincipalArn': arn.replace(/:sts:(.*):assumed-role\/([^/]+)\/.*$/, ':iam:$1:role/$2'),
      'aws:PrincipalType': isRole ? 'AssumedRole' : 'User',
      'aws:userid': userId,
      ...(isRole ? {} : { 'aws:username': sessionName }),
      'aws:SourceIp': sourceIp,
      'aws:SecureTransport': String(secure),
      'aws:RequestedRegion': this.#of.region,
    };
  }
}

/** The keys a region has when nobody names any. */
export const defaultAccessKeys: AccessKeyOptions[] = [defaults.accessKey];

const everything: PolicyDocument = {
  Version: '2012-10-17',
  Statement: { Effect: 'Allow', Action: '*', Resource: '*' },
};

function toStatement({ action, resource = '*', conditions = {} }: Denial) {
  return { Effect: 'Deny' as const, Action: action, Resource: resource, Condition: conditions };
}

/** A resource's tags as the service authorization reference names them: `ssm:resourceTag/KEY`, `ec2:ResourceTag/KEY`. */
function tagKeys(action: string, tags: Record<string, string>): Context {
  const own = action.startsWith('ssm:') ? 'ssm:resourceTag' : 'ec2:ResourceTag';
  return Object.fromEntries(
    Object.entries(tags).flatMap(([key, value]) => [
      [`aws:ResourceTag/${key}`, value],
      [`${own}/${key}`, value],
    ]),
  );
}

/** The same for the same user or role, as AWS's are. */
function uniqueId(arn: string): string {
  const [, role = arn, session] = /^(.*:assumed-role\/[^/]+)\/(.*)$/.exec(arn) ?? [];
  const digits = createHash('sha256').update(role).digest('hex').slice(0, 17).toUpperCase();
  return session === undefined ? `AIDA${digits}` : `AROA${digits}:${session}`;
}

function isRoleSession(arn: string): boolean {
  return arn.includes(':assumed-role/');
}
