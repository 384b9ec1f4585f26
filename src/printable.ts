// What a peer wrote, for a terminal or a log: it may hold anything.

/** One line: no control characters, not too long. */
export function printable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .slice(0, 300)
    .trim();
}
