// The patterns by which ssh's configuration names hosts (ssh_config(5), "PATTERNS"), for ours: `*`, `?`, and `!` before a
// pattern. Without regard to case: ssh lower-cases the name that it puts in for `%h`.

/** Whether one of the patterns, apart by blanks or commas, matches the name, and none of those with `!` does. */
export function matchesHost(patterns: string, name: string): boolean {
  let matches = false;
  for (const pattern of patterns.split(/[\s,]+/)) {
    if (pattern === '' || !matchesOne(pattern.replace(/^!/, ''), name)) continue;
    if (pattern.startsWith('!')) return false;
    matches = true;
  }
  return matches;
}

/** Goes back to the last `*` only, so that no pattern takes long. */
function matchesOne(pattern: string, name: string): boolean {
  const [wanted, given] = [pattern.toLowerCase(), name.toLowerCase()];
  let [p, g, star, taken] = [0, 0, -1, 0];
  while (g < given.length) {
    if (wanted[p] === '*') [star, taken] = [p++, g];
    else if (p < wanted.length && (wanted[p] === '?' || wanted[p] === given[g])) [p, g] = [p + 1, g + 1];
    else if (star >= 0) [p, g] = [star + 1, ++taken];
    else return false;
  }
  while (wanted[p] === '*') p++;
  return p === wanted.length;
}
