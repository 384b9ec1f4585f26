// What an HTTP answer to an upgrade says: AWS's services put a code and a text into JSON, each with names of its own.
import { printable } from '../printable.ts';

export interface Refusal {
  /** AWS's name of the error; undefined where the body names none. */
  code: string | undefined;
  /** One printable line of bounded length; may be empty. */
  text: string;
}

export function parseRefusal(body: string): Refusal {
  let text = body;
  let code: unknown;
  try {
    const value = JSON.parse(body);
    text = String(value.message ?? value.Message ?? '');
    code = value.ErrorCode ?? value.code ?? value.__type;
  } catch {
    // Not JSON: shown as it is.
  }
  return { code: typeof code === 'string' && /^[\w.:#-]{1,100}$/.test(code) ? code : undefined, text: printable(text) };
}
