// AWS's query protocols: a form in the body names operation, version and arguments (lists as `Name.1`, `Name.2`, in
// EC2's way), answers are XML. Each service has its own names for the errors that all have.
import { ServiceError } from '../errors.ts';
import type { Shape, Structure } from './shape.ts';
import type { Answer, Wire } from './wire.ts';

export interface QueryDialect {
  version: string;
  /** Of the answers' elements. */
  namespace: string;
  /** What a JSON service would say → how this one does. */
  errors: Record<string, { code: string; status?: number; message?: (message: string) => string }>;
  /** The answer's document, from its elements and the request's id. */
  envelope: (action: string, elements: string, requestId: string) => string;
  errorEnvelope: (elements: string, requestId: string) => string;
}

const contentType = 'text/xml;charset=UTF-8';

export function queryWire(dialect: QueryDialect): Wire {
  return {
    action(request, body) {
      if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') !== true) return undefined;
      const form = new URLSearchParams(body.toString());
      return form.get('Version') === dialect.version ? (form.get('Action') ?? undefined) : undefined;
    },
    readInput(body, shape) {
      const form = new URLSearchParams(body.toString());
      const unread = new Set(form.keys());
      for (const name of ['Action', 'Version']) unread.delete(name);
      const input = read(form, unread, '', shape);
      const [unknown] = unread;
      if (unknown !== undefined) {
        throw new ServiceError('UnknownParameter', `The parameter ${unknown} is not recognized`);
      }
      return input ?? {};
    },
    answer: (action, output, requestId) => document(200, dialect.envelope(action, elements(output), requestId)),
    refuse({ code, status, message }, requestId) {
      const own = dialect.errors[code] ?? { code };
      const text = own.message?.(message) ?? message;
      const body = dialect.errorEnvelope(elements({ Code: own.code, Message: text }), requestId);
      return document(own.status ?? status, body);
    },
  };
}

function document(status: number, root: string): Answer {
  return { status, contentType, body: `<?xml version="1.0" encoding="UTF-8"?>\n${root}` };
}

/** The part of the form under `path` as `shape` has it; undefined if there is none. What was read is struck out. */
function read(form: URLSearchParams, unread: Set<string>, path: string, shape: Shape): unknown {
  switch (shape.type) {
    case 'list': {
      const items: unknown[] = [];
      for (let at = 1; ; at += 1) {
        const item = read(form, unread, `${path}.${at}`, shape.member);
        if (item === undefined) return items.length === 0 ? undefined : items;
        items.push(item);
      }
    }
    case 'structure':
      return readStructure(form, unread, path, shape);
    case 'map':
      throw new Error('no operation here takes a map in a query');
    default: {
      const text = form.get(path);
      if (text === null) return undefined;
      unread.delete(path);
      return shape.type === 'integer' && /^-?\d+$/.test(text) ? Number(text) : text;
    }
  }
}

function readStructure(form: URLSearchParams, unread: Set<string>, path: string, { members }: Structure): unknown {
  const entries = Object.entries(members)
    .map(([name, member]) => [name, read(form, unread, path === '' ? name : `${path}.${name}`, member)] as const)
    .filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** Lists become `item` elements; what is undefined is left out. */
function elements(value: object): string {
  return Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `<${name}>${content(member)}</${name}>`)
    .join('');
}

function content(value: unknown): string {
  if (Array.isArray(value)) return value.map((item) => `<item>${content(item)}</item>`).join('');
  if (typeof value === 'object' && value !== null) return elements(value);
  return String(value).replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
}
