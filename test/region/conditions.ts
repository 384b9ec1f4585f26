// The part of IAM's conditions that the policies of this region use: string operators over the keys of a request. All
// operators and keys of a block must hold; of the values of one key, any.

/** Operator → condition key → values, as in a policy's `Condition`. */
export type Conditions = Partial<Record<Operator, Record<string, string | string[]>>>;
export type Operator = keyof typeof operators;
/** Condition key → the request's value. */
export type RequestContext = Record<string, string>;

const operators = {
  StringEquals: (value: string, wanted: string) => value === wanted,
  StringNotEquals: (value: string, wanted: string) => value !== wanted,
  StringLike: (value: string, wanted: string) => glob(wanted, value),
  StringNotLike: (value: string, wanted: string) => !glob(wanted, value),
};

/** As IAM does it: a key that the request does not have fails, except with a negated operator. */
export function conditionsHold(conditions: Conditions, context: RequestContext): boolean {
  return Object.entries(conditions).every(([operator, block]) =>
    Object.entries(block).every(([key, wanted]) => holds(operator as Operator, context[key], [wanted].flat())),
  );
}

function holds(operator: Operator, value: string | undefined, wanted: string[]): boolean {
  const negated = operator.includes('Not');
  if (value === undefined) return negated;
  return negated
    ? wanted.every((each) => operators[operator](value, each))
    : wanted.some((each) => operators[operator](value, each));
}

/** `*` and `?` as IAM and EC2's filters have them. */
export function glob(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(text);
}
