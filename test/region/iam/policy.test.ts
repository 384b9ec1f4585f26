// The rules of evaluation that the documented policies do not show; IAM user guide, "Condition operators", "Conditions
// with multiple context keys or values", "Variables and tags".
import t from 'tap';
import { type ConditionBlock, type Context, conditionsHold } from './conditions.ts';
import { checkPolicy, decide, type PolicyDocument, type Statement } from './policy.ts';

/** A policy's variable. */
const of = (expression: string) => `\${${expression}}`;
const variables = (name: string) => ({ 'aws:username': 'a*e' })[name];

const conditions: [ConditionBlock, Context, boolean][] = [
  [{ StringEquals: { k: ['a', 'b'] } }, { k: 'b' }, true],
  [{ StringEquals: { k: 'a*' } }, { k: 'ab' }, false],
  [{ StringEquals: { K: 'a' } }, { k: 'a' }, true],
  [{ StringEquals: { k: 'a', l: 'b' } }, { k: 'a', l: 'c' }, false],
  [{ StringEquals: { k: 'a' }, StringLike: { l: 'c?' } }, { k: 'a', l: 'cc' }, true],
  [{ StringEquals: { k: of('aws:username') } }, { k: 'a*e' }, true],
  [{ StringLike: { k: of('aws:username') } }, { k: 'abe' }, false],
  [{ StringLike: { k: `x${of('*')}*` } }, { k: 'x*y' }, true],
  [{ StringLike: { k: `x${of('*')}*` } }, { k: 'xxy' }, false],
  [{ StringEquals: { k: of('aws:nobody') } }, { k: '' }, false],
  [{ StringEquals: { k: of("aws:nobody, 'n'") } }, { k: 'n' }, true],
  [{ StringEqualsIgnoreCase: { k: 'A' } }, { k: 'a' }, true],
  [{ StringNotEquals: { k: ['a', 'b'] } }, { k: 'b' }, false],
  [{ StringNotEquals: { k: 'a' } }, {}, true],
  [{ StringNotLike: { k: 'a*' } }, { k: 'ba' }, true],
  [{ StringEquals: { k: 'a' } }, {}, false],
  [{ StringEqualsIfExists: { k: 'a' } }, {}, true],
  [{ StringEqualsIfExists: { k: 'a' } }, { k: 'b' }, false],
  [{ NumericLessThanEquals: { k: 60 } }, { k: '60' }, true],
  [{ NumericLessThanEquals: { k: '60' } }, { k: '61' }, false],
  [{ NumericLessThan: { k: '60' } }, { k: '60' }, false],
  [{ NumericGreaterThan: { k: '9' } }, { k: '10' }, true],
  [{ NumericGreaterThanEquals: { k: '9' } }, { k: '8' }, false],
  [{ NumericEquals: { k: '22' } }, { k: '22.0' }, true],
  [{ NumericEquals: { k: '22' } }, { k: 'ssh' }, false],
  [{ NumericNotEquals: { k: '22' } }, { k: '3389' }, true],
  [{ Bool: { k: 'true' } }, { k: 'True' }, true],
  [{ Bool: { k: true } }, {}, false],
  [{ BoolIfExists: { k: 'true' } }, {}, true],
  [{ Null: { k: 'true' } }, {}, true],
  [{ Null: { k: 'true' } }, { k: '' }, false],
  [{ Null: { k: 'false' } }, { k: '' }, true],
  [{ IpAddress: { k: ['192.0.2.0/24', '2001:db8::/32'] } }, { k: '2001:db8:1::1' }, true],
  [{ IpAddress: { k: '192.0.2.0/24' } }, { k: '192.0.3.0' }, false],
  [{ IpAddress: { k: '192.0.2.1' } }, { k: '192.0.2.1' }, true],
  [{ IpAddress: { k: '0.0.0.0/0' } }, { k: 'nonsense' }, false],
  [{ NotIpAddress: { k: '192.0.2.0/24' } }, { k: '192.0.2.255' }, false],
  [{ NotIpAddress: { k: ['192.0.2.0/24', '198.51.100.0/24'] } }, { k: '203.0.113.1' }, true],
  [{ ArnLike: { k: 'arn:aws:iam::*:role/x' } }, { k: 'arn:aws:iam::1:role/x' }, true],
  [{ 'ForAnyValue:StringEquals': { k: ['a', 'b'] } }, { k: ['c', 'b'] }, true],
  [{ 'ForAnyValue:StringEquals': { k: 'a' } }, { k: ['b', 'c'] }, false],
  [{ 'ForAnyValue:StringEquals': { k: 'a' } }, {}, false],
  [{ 'ForAnyValue:StringNotEquals': { k: 'a' } }, { k: ['a', 'b'] }, true],
  [{ 'ForAllValues:StringLike': { k: ['a*', 'b'] } }, { k: ['aa', 'b'] }, true],
  [{ 'ForAllValues:StringLike': { k: 'a*' } }, { k: ['aa', 'b'] }, false],
  [{ 'ForAllValues:StringLike': { k: 'a*' } }, {}, true],
];

for (const [block, context, expected] of conditions) {
  t.test(`${JSON.stringify(block)} ${expected ? 'holds' : 'fails'} for ${JSON.stringify(context)}`, async (t) => {
    t.equal(conditionsHold(block, context, variables), expected);
  });
}

const request = { action: 'ssm:StartSession', resource: 'arn:aws:ssm:r:1:x/y', context: { 'aws:username': 'alice' } };
const allowAll: Statement = { Effect: 'Allow', Action: '*', Resource: '*' };

function decideOn(...statements: Partial<Statement>[]): string {
  const Statement = statements.map((statement) => ({ Effect: 'Allow', ...statement }) as Statement);
  return decide([{ Version: '2012-10-17', Statement }], request);
}

t.test('an explicit deny wins, in whatever policy; nothing is not enough', async (t) => {
  const deny: PolicyDocument = { Statement: { Effect: 'Deny', Action: 'ssm:Start*', Resource: '*' } };
  t.equal(decide([{ Statement: allowAll }], request), 'allowed');
  t.equal(decide([{ Statement: allowAll }, deny], request), 'denied explicitly');
  t.equal(decide([deny, { Statement: [allowAll] }], request), 'denied explicitly');
  t.equal(decide([], request), 'not allowed');
});

t.test('actions in any case, resources in theirs, and the rest of either', async (t) => {
  t.equal(decideOn({ Action: 'SSM:startsession', Resource: '*' }), 'allowed');
  t.equal(decideOn({ Action: ['ec2:*', 'ssm:Start????ion'], Resource: 'arn:aws:ssm:*:*:x/*' }), 'allowed');
  t.equal(decideOn({ Action: 'ssm:StartSessions', Resource: '*' }), 'not allowed');
  t.equal(decideOn({ Action: '*', Resource: 'arn:aws:ssm:*:*:X/*' }), 'not allowed');
  t.equal(decideOn({ NotAction: 'ssm:Start*', Resource: '*' }), 'not allowed');
  t.equal(decideOn({ NotAction: 'ec2:*', Resource: '*' }), 'allowed');
  t.equal(decideOn({ Action: '*', NotResource: 'arn:aws:ssm:*:*:x/y' }), 'not allowed');
  t.equal(decideOn({ Effect: 'Deny', Action: '*', NotResource: 'arn:aws:ssm:*:*:x/z' }), 'denied explicitly');
});

t.test('variables are those of version 2012-10-17', async (t) => {
  const Statement: Statement = { ...allowAll, Condition: { StringEquals: { 'aws:username': of('aws:username') } } };
  t.equal(decide([{ Version: '2012-10-17', Statement }], request), 'allowed');
  t.equal(decide([{ Statement }], request), 'not allowed');
});

t.test('a policy that IAM would not take is refused when it is given', async (t) => {
  const wrong: [RegExp, object][] = [
    [/either Action or NotAction/, { Action: undefined }],
    [/either Resource or NotResource/, { NotResource: '*' }],
    [/Effect/, { Effect: 'allow' }],
    [/no action/, { Action: 'StartSession' }],
    [/no resource/, { Resource: 'i-0123456789abcdef0' }],
    [/Principal/, { Principal: '*' }],
    [/NumericAtMost/, { Condition: { NumericAtMost: { k: '1' } } }],
    [/cannot be 10.0.0.0\/33/, { Condition: { IpAddress: { k: '10.0.0.0/33' } } }],
    [/cannot be maybe/, { Condition: { Bool: { k: 'maybe' } } }],
  ];
  for (const [message, change] of wrong) {
    t.throws(() => checkPolicy({ Statement: { ...allowAll, ...change } as Statement }), { message });
  }
  t.throws(() => checkPolicy({ Version: '2020-01-01', Statement: allowAll }), { message: /2020-01-01/ });
});
