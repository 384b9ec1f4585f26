// Checks a JSON request against the service model's constraints (aws-cli's bundled `service-2.json`) and complains in
// the words of AWS's front end: SerializationException for a wrong type, ValidationException for a wrong value.
import { ServiceError } from '../errors.ts';

export type Shape =
  | { type: 'string'; min?: number; max?: number; pattern?: RegExp; values?: string[] }
  | { type: 'integer'; min?: number; max?: number }
  | { type: 'boolean' }
  | { type: 'list'; member: Shape; min?: number; max?: number }
  | { type: 'map'; key: Shape; value: Shape }
  | Structure;

export interface Structure {
  type: 'structure';
  members: Record<string, Shape>;
  required?: string[];
}

/** Throws unless `input` fits. Members that the model does not know are ignored, as AWS does. */
export function validate(input: unknown, shape: Structure): asserts input is Record<string, unknown> {
  const complaints: string[] = [];
  check(input, shape, '', complaints);
  if (complaints.length === 0) return;
  const count = complaints.length === 1 ? '1 validation error' : `${complaints.length} validation errors`;
  throw new ServiceError('ValidationException', `${count} detected: ${complaints.join('; ')}`);
}

function check(value: unknown, shape: Shape, path: string, complaints: string[]): void {
  const complain = (rule: string) => {
    const shown = typeof value === 'object' ? JSON.stringify(value) : String(value);
    complaints.push(`Value '${shown}' at '${path}' failed to satisfy constraint: Member must ${rule}`);
  };
  switch (shape.type) {
    case 'string': {
      const text = expectType(value, 'string', 'String') as string;
      if (shape.values !== undefined && !shape.values.includes(text)) {
        complain(`satisfy enum value set: [${shape.values.join(', ')}]`);
      }
      checkRange([...text].length, shape, 'length', complain);
      if (shape.pattern !== undefined && !shape.pattern.test(text)) {
        complain(`satisfy regular expression pattern: ${shape.pattern.source}`);
      }
      return;
    }
    case 'integer':
      checkRange(expectType(value, 'number', 'Integer') as number, shape, 'value', complain);
      return;
    case 'boolean':
      expectType(value, 'boolean', 'Boolean');
      return;
    case 'list': {
      if (!Array.isArray(value)) throw mistyped(value, 'List');
      checkRange(value.length, shape, 'length', complain);
      value.forEach((member, at) => {
        check(member, shape.member, `${path}.${at + 1}.member`, complaints);
      });
      return;
    }
    case 'map':
      for (const [key, member] of Object.entries(expectObject(value))) {
        check(key, shape.key, `${path}.${key}.key`, complaints);
        check(member, shape.value, `${path}.${key}.value`, complaints);
      }
      return;
    case 'structure': {
      const members = expectObject(value);
      for (const [name, member] of Object.entries(shape.members)) {
        const inside = `${path === '' ? '' : `${path}.`}${name[0]!.toLowerCase()}${name.slice(1)}`;
        const given = members[name];
        if (given !== undefined && given !== null) check(given, member, inside, complaints);
        else if (shape.required?.includes(name)) {
          complaints.push(`Value null at '${inside}' failed to satisfy constraint: Member must not be null`);
        }
      }
    }
  }
}

function checkRange(
  size: number,
  { min, max }: { min?: number; max?: number },
  noun: 'length' | 'value',
  complain: (rule: string) => void,
): void {
  if (min !== undefined && size < min) complain(`have ${noun} greater than or equal to ${min}`);
  if (max !== undefined && size > max) complain(`have ${noun} less than or equal to ${max}`);
}

function expectType(value: unknown, type: 'string' | 'number' | 'boolean', name: string): unknown {
  if (typeof value !== type) throw mistyped(value, name);
  return value;
}

function expectObject(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mistyped(value, 'Map');
  return value as Record<string, unknown>;
}

function mistyped(value: unknown, wanted: string): ServiceError {
  const seen = Array.isArray(value) ? 'START_ARRAY' : value === null ? 'NULL' : `${typeof value}`.toUpperCase();
  const token = seen === 'OBJECT' ? 'START_OBJECT' : seen === 'STRING' || seen === 'NUMBER' ? `${seen}_VALUE` : seen;
  return new ServiceError('SerializationException', `${token} can not be converted to a ${wanted}`);
}
