// Patterns of policies and of EC2's filters: `*` and `?`, and in policies variables besides: `${aws:username}`, with a
// default as in `${aws:username, 'nobody'}`; `${*}`, `${?}` and `${$}` are the characters themselves (IAM user guide,
// "Variables and tags"). A variable's value is taken literally.

/** A variable's value; undefined where the request has none. */
export type Variables = (name: string) => string | undefined;

interface Piece {
  text: string;
  literal: boolean;
}

/** `*` and `?` alone. */
export function glob(pattern: string, text: string): boolean {
  return globPieces([{ text: pattern, literal: false }], text);
}

/** With variables too; where one of them has no value nothing matches. */
export function like(pattern: string, text: string, variables: Variables | undefined): boolean {
  const pieces = split(pattern, variables);
  return pieces !== undefined && globPieces(pieces, text);
}

/** The pattern with its variables filled in; undefined where one of them has no value. */
export function fill(pattern: string, variables: Variables | undefined): string | undefined {
  return split(pattern, variables)
    ?.map(({ text }) => text)
    .join('');
}

function globPieces(pieces: Piece[], text: string): boolean {
  const source = pieces.map((piece) => {
    const escaped = piece.text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    return piece.literal ? escaped : escaped.replaceAll('\\*', '.*').replaceAll('\\?', '.');
  });
  return new RegExp(`^${source.join('')}$`, 's').test(text);
}

function split(pattern: string, variables: Variables | undefined): Piece[] | undefined {
  if (variables === undefined) return [{ text: pattern, literal: false }];
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of pattern.matchAll(/\$\{([^}]*)\}/g)) {
    const value = resolve(match[1]!, variables);
    if (value === undefined) return undefined;
    pieces.push({ text: pattern.slice(at, match.index), literal: false }, { text: value, literal: true });
    at = match.index + match[0].length;
  }
  return [...pieces, { text: pattern.slice(at), literal: false }];
}

function resolve(expression: string, variables: Variables): string | undefined {
  if (/^[*?$]$/.test(expression)) return expression;
  const [, name, fallback] = /^\s*([^,\s]+)\s*(?:,\s*'([^']*)'\s*)?$/.exec(expression) ?? [];
  return name === undefined ? undefined : (variables(name) ?? fallback);
}
