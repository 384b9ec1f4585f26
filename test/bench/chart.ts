// A run as bars (SVG 1.1, no script): one panel for each measure, each with its own scale, so that the ratios are what is
// seen. Colours follow the reader's choice of light or dark.
import { figure, show } from './limits.ts';
import type { Result } from './measure.ts';
import type { Report } from './report.ts';
import { present } from './statistics.ts';

const shown = ['connect.banner', 'upload.rate', 'upload.cpu', 'keystroke.median'];
const order = ['direct', 'warm', 'cold', 'no-daemon', 'cli+plugin'];
const labels: Record<string, string> = {
  direct: 'ssh over TCP',
  warm: 'keyhole',
  cold: 'keyhole, no daemon yet',
  'no-daemon': 'keyhole --no-daemon',
  'cli+plugin': 'AWS CLI + plugin',
};

const width = 720;
const left = 170;
const right = 90;
const barHeight = 16;
const lineHeight = 22;
const headHeight = 34;

export function toSvg(report: Report): string {
  const byName = new Map(report.results.map((result) => [result.name, result]));
  let y = 8;
  const panels = shown.flatMap((name) => {
    const result = byName.get(name);
    if (result === undefined) return [];
    const { text, height } = panel(result, y);
    y += height;
    return text;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${escapeXml(`keyhole beside the others, ${report.date.slice(0, 10)}`)}</title>`,
    '<style>text { fill: #24292f } .bar { fill: #8c959f } .ours { fill: #0969da } @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #4493f8 } }</style>',
    ...panels,
    '</svg>',
    '',
  ].join('\n');
}

function panel(result: Result, top: number): { text: string[]; height: number } {
  const values = order.flatMap((name) => {
    const samples = present(result.series[name] ?? []);
    return samples.length === 0 ? [] : [{ name, value: figure(result, samples) }];
  });
  const longest = Math.max(...values.map(({ value }) => value));
  const lines = values.flatMap(({ name, value }, at) => {
    const y = top + headHeight + at * lineHeight;
    const length = Math.max(1, ((width - left - right) * value) / longest);
    const isOurs = !['direct', 'cli+plugin'].includes(name);
    return [
      `<text x="${left - 8}" y="${y + 12}" text-anchor="end">${escapeXml(labels[name] ?? name)}</text>`,
      `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" class="${isOurs ? 'ours' : 'bar'}"/>`,
      `<text x="${(left + length + 6).toFixed(1)}" y="${y + 12}">${escapeXml(`${show(value)} ${result.unit}`)}</text>`,
    ];
  });
  const better = result.better === 'higher' ? 'longer is better' : 'shorter is better';
  return {
    text: [
      `<text x="0" y="${top + 20}" font-weight="600">${escapeXml(`${result.title} (${better})`)}</text>`,
      ...lines,
    ],
    height: headHeight + values.length * lineHeight + 10,
  };
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
