// Who calls and what they may: access keys, their principals, and the part of IAM's evaluation that matters here
// (action and resource globs, conditions; an explicit deny wins). Messages are IAM's.
import { type Conditions, conditionsHold, glob, type RequestContext } from './conditions.ts';
import { ServiceError } from './errors.ts';
import { type AccessKeyOptions, type Denial, defaults } from './options.ts';
import type { SigningKey } from './sigv4.ts';

export interface Statement {
  effect: 'Allow' | 'Deny';
  /** Globs, e.g. `ssm:*`. */
  actions: string[];
  /** Globs over ARNs. */
  resources: string[];
  /** Default: none. */
  conditions?: Conditions;
}

/** What is asked of IAM; a bare name has no condition keys. */
export type Access = string | { action: string; conditions: RequestContext };

export interface Principal extends SigningKey {
  account: string;
  arn: string;
  /** What session ids begin with: the IAM user's or the role session's name. */
  sessionName: string;
  policy: Statement[];
}

const everything: Statement = { effect: 'Allow', actions: ['*'], resources: ['*'] };

export class Identities {
  /** Changeable while the region runs. */
  readonly denials: Denial[];
  readonly #keys = new Map<string, Principal>();
  readonly #account: string;
  readonly #partition: string;

  constructor(keys: AccessKeyOptions[], denials: Denial[], account: string, partition: string) {
    this.denials = [...denials];
    this.#account = account;
    this.#partition = partition;
    for (const key of keys) this.add(key);
  }

  /** Adds a key, or replaces the one of the same id. */
  add(key: AccessKeyOptions): Principal {
    const account = key.account ?? this.#account;
    const arn = key.arn ?? `arn:${this.#partition}:iam::${account}:user/alice`;
    const principal: Principal = {
      accessKeyId: key.accessKeyId,
      secretAccessKey: key.secretAccessKey,
      sessionToken: key.sessionToken,
      expiresAt: key.expiresAt,
      account,
      arn,
      sessionName: arn.slice(arn.lastIndexOf('/') + 1),
      policy: key.policy ?? [everything],
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

  remove(accessKeyId: string): void {
    this.#keys.delete(accessKeyId);
  }

  find(accessKeyId: string): Principal | undefined {
    return this.#keys.get(accessKeyId);
  }

  /** Throws AccessDeniedException in IAM's words unless the principal may do this on every resource. */
  authorize(principal: Principal, access: Access, ...resources: string[]): void {
    const { action, conditions } = typeof access === 'string' ? { action: access, conditions: {} } : access;
    for (const resource of resources) {
      const because = this.#refusal(principal, action, resource, conditions);
      if (because === undefined) continue;
      const on = resource === '*' ? '' : ` on resource: ${resource}`; // `*` is an action without resources.
      throw new ServiceError(
        'AccessDeniedException',
        `User: ${principal.arn} is not authorized to perform: ${action}${on} ${because}`,
      );
    }
  }

  #refusal(principal: Principal, action: string, resource: string, context: RequestContext): string | undefined {
    const matching = principal.policy.filter((statement) => covers(statement, action, resource, context));
    const denied =
      this.denials.some((denial) => denies(denial, action, resource, context)) ||
      matching.some((statement) => statement.effect === 'Deny');
    if (denied) return 'with an explicit deny in an identity-based policy';
    if (matching.length === 0) return `because no identity-based policy allows the ${action} action`;
    return undefined;
  }
}

/** The keys a region has when nobody names any. */
export const defaultAccessKeys: AccessKeyOptions[] = [defaults.accessKey];

function denies(denial: Denial, action: string, resource: string, context: RequestContext): boolean {
  return (
    glob(denial.action, action) &&
    glob(denial.resource ?? '*', resource) &&
    conditionsHold(denial.conditions ?? {}, context)
  );
}

function covers(statement: Statement, action: string, resource: string, context: RequestContext): boolean {
  return (
    statement.actions.some((pattern) => glob(pattern, action)) &&
    statement.resources.some((pattern) => glob(pattern, resource)) &&
    conditionsHold(statement.conditions ?? {}, context)
  );
}
