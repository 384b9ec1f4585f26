// AWS JSON 1.1: the operation is in X-Amz-Target, bodies are JSON. Error shapes: protocol.md 1.1.
import { ServiceError } from '../errors.ts';
import type { Wire } from './wire.ts';

const contentType = 'application/x-amz-json-1.1';

/** `targetPrefix` is what stands before the dot of X-Amz-Target. */
export function jsonWire(targetPrefix: string): Wire {
  return {
    action(request) {
      const [prefix, action] = String(request.headers['x-amz-target'] ?? '').split('.');
      return prefix === targetPrefix ? action : undefined;
    },
    readInput(body) {
      try {
        return body.length === 0 ? {} : JSON.parse(body.toString());
      } catch {
        throw new ServiceError('SerializationException', 'The request is not valid JSON.');
      }
    },
    answer: (_action, output) => ({ status: 200, contentType, body: JSON.stringify(output) }),
    refuse: refuseAsJson,
  };
}

/** Also for a request that belongs to no service. */
export const refuseAsJson: Wire['refuse'] = (error) => ({
  status: error.status,
  contentType,
  body: JSON.stringify({ __type: error.code, message: error.message }),
});
