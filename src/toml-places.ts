// Where keys stand in a TOML text (toml.io, v1.0.0), for messages: the parser keeps no places. Only for a text that the parser
// has taken: nothing is checked here, and what is wrong gives wrong places, not errors.

export interface Place {
  /** Counted from 1. */
  line: number;
  column: number;
}

/** Names a key by its path: `placeName(['host', 'web-*.ec2', 'user'])`. */
export function placeName(path: string[]): string {
  return JSON.stringify(path);
}

/** The first place of every key and table, by placeName. */
export function findPlaces(text: string): Map<string, Place> {
  const tokens = tokenize(text);
  const places = new Map<string, Place>();
  let next = 0;
  const note = (path: string[], { offset }: Token) => {
    if (!places.has(placeName(path))) places.set(placeName(path), placeOf(text, offset));
  };
  /** A dotted key up to its `=` or `]`, which is skipped. */
  const readKey = (): string[] => {
    const path: string[] = [];
    for (; next < tokens.length && !/^[=\]]$/.test(tokens[next]!.text); next++) {
      if (!/^\.$|^\s/.test(tokens[next]!.text)) path.push(nameOf(tokens[next]!.text));
    }
    next++;
    return path;
  };
  const readPair = (table: string[]) => {
    const start = tokens[next]!;
    const path = [...table, ...readKey()];
    note(path, start);
    readValue(path);
  };
  /** Stops at the comma, bracket or line end that follows. */
  const readValue = (path: string[]) => {
    const opening = tokens[next]?.text;
    if (opening === '[' || opening === '{') {
      for (next++; next < tokens.length && !/^[\]}]$/.test(tokens[next]!.text); ) {
        if (/^[,\n]$/.test(tokens[next]!.text)) next++;
        else if (opening === '{') readPair(path);
        else readValue(path);
      }
      next++;
      return;
    }
    while (next < tokens.length && !/^[,\]}\n]$/.test(tokens[next]!.text)) next++;
  };
  let table: string[] = [];
  while (next < tokens.length) {
    const start = tokens[next]!;
    if (start.text === '\n') {
      next++;
    } else if (start.text === '[') {
      const isArray = tokens[next + 1]?.text === '[';
      next += isArray ? 2 : 1;
      table = readKey();
      if (isArray) next++;
      note(table, start);
    } else {
      readPair(table);
    }
  }
  return places;
}

interface Token {
  text: string;
  offset: number;
}

/** Strings, line ends, punctuation, and runs of anything else; without blanks and comments. */
function tokenize(text: string): Token[] {
  const pattern =
    /"""(?:[^\\]|\\[\s\S])*?"{3,5}|'''[\s\S]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|\n|[[\]{}=,.]|[^\s[\]{}=,.#"']+/g;
  return [...text.matchAll(pattern)]
    .filter(([token]) => !token.startsWith('#'))
    .map(({ 0: token, index }) => ({ text: token, offset: index }));
}

function nameOf(token: string): string {
  if (token.startsWith("'")) return token.slice(1, -1);
  if (!token.startsWith('"')) return token;
  try {
    return JSON.parse(token);
  } catch {
    return token.slice(1, -1); // an escape that JSON has not
  }
}

function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}
