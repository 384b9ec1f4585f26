// A level and a function, passed in; silent unless somebody asks. Lines are `key=value` pairs after
// a short event name. Never log tokens, signed URLs or credentials.

export type LogLevel = 'error' | 'info' | 'debug';
export type LogFields = Record<string, string | number | boolean | undefined>;
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

export const silent: Log = () => {};

const order: Record<LogLevel, number> = { error: 0, info: 1, debug: 2 };

/** A log that hands finished lines (without newline) to `write`, down to `level`. */
export function lineLog(level: LogLevel, write: (line: string) => void, wallTime: () => number = Date.now): Log {
  return (at, event, fields = {}) => {
    if (order[at] > order[level]) return;
    let line = `${new Date(wallTime()).toISOString()} ${at} ${event}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${quote(String(value))}`;
    }
    write(line);
  };
}

function quote(value: string): string {
  return /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(value) ? value : JSON.stringify(value);
}
