import t from 'tap';
import { UsageError } from '../../src/errors.ts';
import { parseHost, parsePort, parseUser } from '../../src/target/host.ts';

t.test('ids of instances and hybrid nodes are hosts', async (t) => {
  t.match(parseHost('i-0123456789abcdef0'), { instanceId: 'i-0123456789abcdef0' });
  t.match(parseHost('i-89abcdef'), { instanceId: 'i-89abcdef' });
  t.match(parseHost('mi-0123456789abcdef0'), { instanceId: 'mi-0123456789abcdef0' });
  t.notOk('region' in parseHost('i-89abcdef'), 'no region unless it is named');
});

t.test('a region, a profile or both may follow', async (t) => {
  t.match(parseHost('i-89abcdef.eu-west-1'), { region: 'eu-west-1', profile: undefined });
  t.match(parseHost('i-89abcdef.us-gov-east-1.prod'), { region: 'us-gov-east-1', profile: 'prod' });
  t.match(parseHost('mi-0123456789abcdef0.eusc-de-east-1.A_b+c@d'), { region: 'eusc-de-east-1', profile: 'A_b+c@d' });
  t.match(parseHost('i-89abcdef.prod'), { region: undefined, profile: 'prod' });
  t.match(
    parseHost('i-89abcdef.eu-west-1.team.prod'),
    { region: 'eu-west-1', profile: 'team.prod' },
    'profiles may have dots',
  );
});

t.test('a Name tag is a host behind .ec2, with region and profile between', async (t) => {
  for (const [name, nameTag, region, profile] of [
    ['web-1.ec2', 'web-1', undefined, undefined],
    ['Web_1.EC2', 'Web_1', undefined, undefined],
    ['api.example.com.ec2', 'api.example.com', undefined, undefined],
    ['web-1.eu-west-1.ec2', 'web-1', 'eu-west-1', undefined],
    ['web-1.eu-west-1.prod.ec2', 'web-1', 'eu-west-1', 'prod'],
    ['web-1.us-gov-east-1.team.prod.ec2', 'web-1', 'us-gov-east-1', 'team.prod'],
    ['a.us-east-1.b.eu-west-1.prod.ec2', 'a.us-east-1.b', 'eu-west-1', 'prod'],
    ['api.web-blue-1.ec2', 'api.web-blue-1', undefined, undefined],
    ['eu-west-1.ec2', 'eu-west-1', undefined, undefined],
    ['i-89abcdef.ec2', 'i-89abcdef', undefined, undefined],
  ] as const) {
    const host = parseHost(name);
    t.strictSame({ ...host }, { name, nameTag, ...(region && { region }), ...(profile && { profile }) }, name);
  }
});

t.test('all regions of AWS are known as such', async (t) => {
  const regions =
    'af-south-1 ap-east-2 ap-northeast-3 ap-southeast-7 ca-west-1 cn-north-1 cn-northwest-1 eu-central-2 eusc-de-east-1 ' +
    'eu-isoe-west-1 il-central-1 me-south-1 mx-central-1 sa-east-1 us-east-2 us-gov-west-1 us-iso-west-1 us-isob-east-1 us-isof-south-1';
  for (const region of regions.split(' ')) t.equal(parseHost(`i-89abcdef.${region}`).region, region);
});

t.test('anything else is refused as used wrongly, with the grammar', async (t) => {
  const refused = [
    '',
    '-oProxyCommand=x',
    'i-',
    'i-0123456789abcde',
    'i-0123456789abcdef01',
    'i-0123456789ABCDEF0',
    'i-0123456789abcdeg0',
    'mi-89abcdef',
    'x-0123456789abcdef0',
    ' i-89abcdef',
    'i-89abcdef\n',
    'i-89abcdef.',
    'i-89abcdef..prod',
    'i-89abcdef.-x',
    'i-89abcdef.eu-west-1.',
    'i-89abcdef.a;id',
    'i-89abcdef.$(id)',
    'i-89abcdef.a/../b',
    `i-89abcdef.${'p'.repeat(129)}`,
    'example.com',
    '.ec2',
    'ec2',
    '-x.ec2',
    'a..b.ec2',
    'a*.ec2',
    'a?.ec2',
    'a b.ec2',
    'a/b.ec2',
    'a;id.ec2',
    'web-1.eu-west-1.-x.ec2',
    'web-1.eu-west-1..ec2',
    `${'n'.repeat(256)}.ec2`,
  ];
  for (const name of refused) {
    t.throws(() => parseHost(name), { code: 'bad-host', hint: /\.REGION and \.PROFILE/ }, JSON.stringify(name));
  }
  const error = t.throws(() => parseHost('a\x1b[31m\n\u202e')) as UsageError;
  t.ok(error instanceof UsageError);
  t.equal(error.exitStatus, 2);
  t.match(error.message, /^[\x20-\x7e]+$/, 'nothing reaches the terminal that could control it');
});

t.test('ports are numbers from 1 to 65535', async (t) => {
  t.equal(parsePort('1'), 1);
  t.equal(parsePort('22'), 22);
  t.equal(parsePort('65535'), 65535);
  for (const text of [
    '',
    '0',
    '65536',
    '70000',
    '-22',
    '+22',
    '22;id',
    ' 22',
    '22 ',
    '0x16',
    '1e3',
    '22.0',
    '٢٢',
    '000022',
  ]) {
    t.throws(() => parsePort(text), { code: 'bad-port', exitStatus: 2 }, JSON.stringify(text));
  }
});

t.test('login names are POSIX names that cannot be taken for an option or a command', async (t) => {
  for (const name of ['root', 'ec2-user', 'a', '_svc', 'first.last', 'x'.repeat(32), 'host$'])
    t.equal(parseUser(name), name);
  for (const name of ['', '-root', '.a', 'a b', 'a;id', '$(id)', 'a/b', "a'b", 'a\nb', 'x'.repeat(33), 'ünal', '%r']) {
    t.throws(() => parseUser(name), { code: 'bad-user', exitStatus: 2 }, JSON.stringify(name));
  }
});
