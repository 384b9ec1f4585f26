// IAM's decision over the identity-based policies of one caller (IAM user guide, "Policy evaluation logic"): an explicit
// deny wins, then any allow; without either it is denied.
import { type ConditionBlock, type Context, checkConditions, conditionsHold, keysOf } from './conditions.ts';
import { glob, like, type Variables } from './pattern.ts';

/** A policy as AWS has it in JSON. */
export interface PolicyDocument {
  /** Without `2012-10-17` there are no policy variables. */
  Version?: string;
  Id?: string;
  Statement: Statement | Statement[];
}

export interface Statement {
  Sid?: string;
  Effect: 'Allow' | 'Deny';
  Action?: string | string[];
  NotAction?: string | string[];
  Resource?: string | string[];
  NotResource?: string | string[];
  Condition?: ConditionBlock;
}

export interface AccessRequest {
  /** `service:Operation`. */
  action: string;
  /** An ARN; `*` for an action without resources. */
  resource: string;
  context: Context;
}

export type Decision = 'allowed' | 'denied explicitly' | 'not allowed';

export function decide(policies: PolicyDocument[], request: AccessRequest): Decision {
  const effects = policies.flatMap((policy) =>
    [policy.Statement]
      .flat()
      .filter((statement) => covers(statement, request, policy.Version === '2012-10-17'))
      .map(({ Effect }) => Effect),
  );
  if (effects.includes('Deny')) return 'denied explicitly';
  return effects.includes('Allow') ? 'allowed' : 'not allowed';
}

/** Throws for a policy that IAM would not take, or that has what is not known here. */
export function checkPolicy(policy: PolicyDocument): void {
  refuseOthers(policy, ['Version', 'Id', 'Statement']);
  if (policy.Version !== undefined && !['2012-10-17', '2008-10-17'].includes(policy.Version)) {
    throw new Error(`there is no policy version ${policy.Version}`);
  }
  for (const statement of [policy.Statement].flat()) {
    refuseOthers(statement, ['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition']);
    if (statement.Effect !== 'Allow' && statement.Effect !== 'Deny') throw new Error('Effect is Allow or Deny');
    exactlyOne(statement, 'Action', 'NotAction');
    exactlyOne(statement, 'Resource', 'NotResource');
    for (const action of [statement.Action ?? statement.NotAction ?? []].flat()) {
      if (!/^(\*|[\w-]+:[\w*?]+)$/.test(action)) throw new Error(`${action} is no action`);
    }
    for (const resource of [statement.Resource ?? statement.NotResource ?? []].flat()) {
      if (resource !== '*' && !resource.startsWith('arn:')) throw new Error(`${resource} is no resource`);
    }
    checkConditions(statement.Condition ?? {});
  }
}

function covers(statement: Statement, { action, resource, context }: AccessRequest, hasVariables: boolean): boolean {
  const values = keysOf(context);
  const variables: Variables | undefined = hasVariables ? (name) => values(name)?.[0] : undefined;
  const isAction = (pattern: string) => glob(pattern.toLowerCase(), action.toLowerCase());
  const isResource = (pattern: string) => like(pattern, resource, variables);
  return (
    (statement.Action === undefined || [statement.Action].flat().some(isAction)) &&
    !(statement.NotAction !== undefined && [statement.NotAction].flat().some(isAction)) &&
    (statement.Resource === undefined || [statement.Resource].flat().some(isResource)) &&
    !(statement.NotResource !== undefined && [statement.NotResource].flat().some(isResource)) &&
    conditionsHold(statement.Condition ?? {}, context, variables)
  );
}

function exactlyOne(statement: Statement, one: keyof Statement, other: keyof Statement): void {
  if ((statement[one] === undefined) === (statement[other] === undefined)) {
    throw new Error(`a statement has either ${one} or ${other}`);
  }
}

function refuseOthers(value: object, known: string[]): void {
  const other = Object.keys(value).find((name) => !known.includes(name));
  if (other !== undefined) throw new Error(`a policy's ${other} is not known`);
}
