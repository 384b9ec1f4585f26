// A unified diff of two small files, as `diff -u` prints it, for people to read.

const context = 3;

interface Line {
  sign: ' ' | '-' | '+';
  text: string;
}

/** Empty where nothing differs. Undefined stands for a file that is not there. */
export function unifiedDiff(path: string, before: string | undefined, after: string | undefined): string {
  const lines = compare(split(before), split(after));
  const hunks = findHunks(lines);
  if (hunks.length === 0 && (before === undefined) === (after === undefined)) return '';
  return [
    `--- ${before === undefined ? '/dev/null' : path}`,
    `+++ ${after === undefined ? '/dev/null' : path}`,
    ...hunks.flatMap(([start, end]) => renderHunk(lines, start, end)),
    '',
  ].join('\n');
}

function split(text: string | undefined): string[] {
  if (text === undefined || text === '') return [];
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  else lines.push(`${lines.pop()}\n\\ No newline at end of file`);
  return lines;
}

/** By the longest common subsequence of what is left between equal beginnings and ends. */
function compare(before: string[], after: string[]): Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (
    tail < Math.min(before.length, after.length) - head &&
    before[before.length - 1 - tail] === after[after.length - 1 - tail]
  )
    tail++;
  return [
    ...before.slice(0, head).map((text): Line => ({ sign: ' ', text })),
    ...compareMiddle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...before.slice(before.length - tail).map((text): Line => ({ sign: ' ', text })),
  ];
}

function compareMiddle(before: string[], after: string[]): Line[] {
  // common[i][j]: how many lines before[i…] and after[j…] have in common.
  const common = Array.from({ length: before.length + 1 }, () => new Uint32Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i]![j] =
        before[i] === after[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!);
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      lines.push({ sign: ' ', text: before[i++]! });
      j++;
    } else if (i < before.length && (j === after.length || common[i + 1]![j]! >= common[i]![j + 1]!)) {
      lines.push({ sign: '-', text: before[i++]! });
    } else {
      lines.push({ sign: '+', text: after[j++]! });
    }
  }
  return lines;
}

/** Where lines differ, with what surrounds them; hunks that touch are one. */
function findHunks(lines: Line[]): [number, number][] {
  const hunks: [number, number][] = [];
  lines.forEach(({ sign }, at) => {
    if (sign === ' ') return;
    const start = Math.max(0, at - context);
    const end = Math.min(lines.length, at + context + 1);
    const last = hunks.at(-1);
    if (last !== undefined && start <= last[1]) last[1] = end;
    else hunks.push([start, end]);
  });
  return hunks;
}

function renderHunk(lines: Line[], start: number, end: number): string[] {
  const count = (from: number, to: number, sign: '-' | '+') =>
    lines.slice(from, to).filter((line) => line.sign === ' ' || line.sign === sign).length;
  const range = (sign: '-' | '+') => {
    const length = count(start, end, sign);
    return `${count(0, start, sign) + (length === 0 ? 0 : 1)},${length}`;
  };
  return [`@@ -${range('-')} +${range('+')} @@`, ...lines.slice(start, end).map(({ sign, text }) => sign + text)];
}
