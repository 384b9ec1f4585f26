// The conditions of IAM's policies (IAM user guide, "Condition operators"): all operators and keys of a block must hold;
// of the values of one key, any. Date and binary operators are left out: no policy here has them.
import { inRange, isRange } from './addresses.ts';
import { fill, like, type Variables } from './pattern.ts';

/** Operator → condition key → values, as a policy has it. */
export type ConditionBlock = Record<string, Record<string, Value | Value[]>>;
type Value = string | number | boolean;
/** Condition key, in any case → the request's values. */
export type Context = Record<string, string | string[]>;

type Test = (value: string, wanted: string, variables: Variables | undefined) => boolean;

const tests: Record<string, Test> = {
  StringEquals: (value, wanted, variables) => value === fill(wanted, variables),
  StringEqualsIgnoreCase: (value, wanted, variables) => value.toLowerCase() === fill(wanted, variables)?.toLowerCase(),
  StringLike: (value, wanted, variables) => like(wanted, value, variables),
  NumericEquals: numeric((value, wanted) => value === wanted),
  NumericLessThan: numeric((value, wanted) => value < wanted),
  NumericLessThanEquals: numeric((value, wanted) => value <= wanted),
  NumericGreaterThan: numeric((value, wanted) => value > wanted),
  NumericGreaterThanEquals: numeric((value, wanted) => value >= wanted),
  Bool: (value, wanted) => value.toLowerCase() === wanted.toLowerCase(),
  IpAddress: (value, wanted) => inRange(value, wanted),
  ArnEquals: (value, wanted, variables) => like(wanted, value, variables),
  ArnLike: (value, wanted, variables) => like(wanted, value, variables),
};

const negations: Record<string, string> = {
  StringNotEquals: 'StringEquals',
  StringNotEqualsIgnoreCase: 'StringEqualsIgnoreCase',
  StringNotLike: 'StringLike',
  NumericNotEquals: 'NumericEquals',
  NotIpAddress: 'IpAddress',
  ArnNotEquals: 'ArnEquals',
  ArnNotLike: 'ArnLike',
};

interface Operator {
  set: 'ForAnyValue' | 'ForAllValues' | undefined;
  test: string;
  negated: boolean;
  ifExists: boolean;
}

/** Whether the block holds for a request. `variables` undefined: the policy's version has none. */
export function conditionsHold(block: ConditionBlock, context: Context, variables?: Variables): boolean {
  const values = keysOf(context);
  return Object.entries(block).every(([operator, keys]) =>
    Object.entries(keys).every(([key, wanted]) =>
      holds(parseOperator(operator), values(key), [wanted].flat().map(String), variables),
    ),
  );
}

/** Reads a context by keys in any case. */
export function keysOf(context: Context): (key: string) => string[] | undefined {
  const byKey = new Map(Object.entries(context).map(([key, value]) => [key.toLowerCase(), [value].flat()]));
  return (key) => byKey.get(key.toLowerCase());
}

/** Throws for an operator that is not known here, and for values that it cannot have. */
export function checkConditions(block: ConditionBlock): void {
  for (const [name, keys] of Object.entries(block)) {
    const { test } = parseOperator(name);
    for (const [key, wanted] of Object.entries(keys)) {
      const wrong = [wanted].flat().find((value) => !fits(test, String(value)));
      if (wrong !== undefined) throw new Error(`${name} of ${key} cannot be ${wrong}`);
    }
  }
}

function fits(test: string, value: string): boolean {
  if (test === 'IpAddress') return isRange(value);
  if (test === 'Bool' || test === 'Null') return /^(true|false)$/i.test(value);
  return !test.startsWith('Numeric') || toNumber(value) !== undefined;
}

function parseOperator(name: string): Operator {
  const [, set, bare = '', ifExists] = /^(?:(ForAnyValue|ForAllValues):)?(\w+?)(IfExists)?$/.exec(name) ?? [];
  const test = negations[bare] ?? bare;
  if (test !== 'Null' && !Object.hasOwn(tests, test)) throw new Error(`the condition operator ${name} is not known`);
  return { set: set as Operator['set'], test, negated: test !== bare, ifExists: ifExists !== undefined };
}

function holds(
  { set, test, negated, ifExists }: Operator,
  values: string[] | undefined,
  wanted: string[],
  variables: Variables | undefined,
): boolean {
  if (test === 'Null') return wanted.some((value) => /^true$/i.test(value) === (values === undefined));
  if (values === undefined) {
    if (ifExists || set === 'ForAllValues') return true;
    return negated && set === undefined;
  }
  const passes = (value: string) => wanted.some((each) => tests[test]!(value, each, variables)) !== negated;
  return set === 'ForAllValues' || (negated && set === undefined) ? values.every(passes) : values.some(passes);
}

function numeric(compare: (value: number, wanted: number) => boolean): Test {
  return (value, wanted) => {
    const [left, right] = [toNumber(value), toNumber(wanted)];
    return left !== undefined && right !== undefined && compare(left, right);
  };
}

function toNumber(text: string): number | undefined {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}
