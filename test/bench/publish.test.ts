import t from 'tap';
import { toSvg } from './chart.ts';
import { replaceFigures } from './readme.ts';
import { type Report, toJson } from './report.ts';

const report: Report = {
  date: '2026-01-02T03:04:05.000Z',
  commit: 'abc1234',
  machine: {
    processor: 'A <fast> one',
    processors: 2,
    memoryMegabytes: 4096,
    system: 'linux',
    node: '24.0.0',
    ssh: 'OpenSSH_9.2p1, OpenSSL 3',
  },
  load: {},
  subjects: {},
  results: [
    {
      name: 'connect.banner',
      title: 'exec to SSH banner',
      unit: 'ms',
      better: 'lower',
      series: { direct: [10], warm: [undefined, 70, 72], 'cli+plugin': [360] },
    },
    { name: 'upload.rate', title: 'upload & more', unit: 'MB/s', better: 'higher', series: { warm: [23.4] } },
    { name: 'of no interest', title: 'x', unit: '', better: 'lower', series: { warm: [1] } },
  ],
};

t.test('README.md gets the figures between its marks, and keeps the rest', async (t) => {
  const readme = 'before\n<!-- figures: written by scripts/bench --publish -->\nold\n<!-- end of figures -->\nafter\n';
  const once = replaceFigures(readme, report);
  t.match(once, /^before\n/);
  t.match(once, /\nafter\n$/);
  t.notMatch(once, /old|of no interest|\| x/);
  t.match(once, /\| median \| ssh over TCP \| keyhole \| AWS CLI \+ plugin \|/);
  t.match(once, /\| exec to SSH banner, ms \| 10 \| 71 \| 360 \|/);
  t.match(once, /\| upload & more, MB\/s \(more is better\) \| {2}\| 23.4 \| {2}\|/);
  t.match(once, '2026-01-02, commit abc1234: 2 × A <fast> one, Node 24.0.0, OpenSSH_9.2p1;');
  t.equal(replaceFigures(once, report), once, 'again changes nothing');
  t.throws(() => replaceFigures('no place', report), { message: /no place|has no/ });
});

t.test('the chart has a bar for each subject, as long as its figure, and is well-formed', async (t) => {
  const svg = toSvg(report);
  const lengths = [...svg.matchAll(/<rect .*?width="([\d.]+)"/g)].map(([, length]) => Number(length));
  t.equal(lengths.length, 4);
  t.equal(Math.round(lengths[2]! / lengths[0]!), 36, 'the plugin is 36 times as long as TCP');
  t.match(svg, 'upload &amp; more (longer is better)');
  t.notMatch(svg, /NaN|undefined|Infinity/);
});

t.test('as JSON it is the same to five digits, a series on a line', async (t) => {
  const results = [{ ...report.results[0]!, series: { direct: [1234.567891, 0.000123456], warm: [undefined, 7] } }];
  const text = toJson({ ...report, results });
  t.match(text, '"direct": [1234.6,0.00012346],\n');
  const { results: shortened, ...rest } = JSON.parse(text);
  const { results: _, ...other } = report;
  t.strictSame(rest, other);
  t.strictSame(shortened[0].series, { direct: [1234.6, 0.00012346], warm: [null, 7] });
});
