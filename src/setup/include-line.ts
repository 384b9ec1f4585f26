// The one line that `setup` puts into the user's own configuration of ssh. Works on bytes, whatever their encoding: nothing
// but the line is ever added or taken away.

const newline = 0x0a;

/** Puts the line at the top, with the line end that the file has. */
export function addInclude(config: Buffer, path: string): Buffer {
  return Buffer.concat([Buffer.from(`Include ${path}${lineEnd(config)}`), config]);
}

/** Takes away every line that includes one of the paths and nothing else. */
export function removeInclude(config: Buffer, paths: readonly string[]): Buffer {
  return Buffer.concat(linesOf(config).filter((line) => !includesOnly(line, paths)));
}

/** Whether a line includes one of the paths, perhaps among others. */
export function hasInclude(config: Buffer, paths: readonly string[]): boolean {
  return linesOf(config).some((line) => included(line)?.some((word) => paths.includes(word)));
}

function includesOnly(line: Buffer, paths: readonly string[]): boolean {
  const words = included(line);
  return words?.length === 1 && paths.includes(words[0]!);
}

/** What an Include line names; undefined for other lines. ssh_config(5): keywords in any case, perhaps `=`, quotes. */
function included(line: Buffer): string[] | undefined {
  const [, rest] = /^\s*include(?:\s*=\s*|\s+)(.*?)\s*$/i.exec(line.toString('latin1')) ?? [];
  return rest
    ?.match(/"[^"]*"|\S+/g)
    ?.map((word) => Buffer.from(word.replace(/^"(.*)"$/, '$1'), 'latin1').toString('utf8'));
}

function linesOf(config: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0; start < config.length; ) {
    const end = config.indexOf(newline, start);
    const next = end < 0 ? config.length : end + 1;
    lines.push(config.subarray(start, next));
    start = next;
  }
  return lines;
}

function lineEnd(config: Buffer): string {
  const end = config.indexOf(newline);
  return end > 0 && config[end - 1] === 0x0d ? '\r\n' : '\n';
}
