// The HTTP side of the region: one call per POST, in AWS's order of refusals (signature, quota, model, permission,
// operation), with a record of every call.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ServiceError } from '../errors.ts';
import { verifySignature } from '../sigv4.ts';
import { originOf, type RegionState } from '../state.ts';
import type { ApiFaults } from './faults.ts';
import { refuseAsJson } from './json-wire.ts';
import type { Operation, RequestRecord, Service } from './service.ts';
import { validate } from './shape.ts';
import type { Answer } from './wire.ts';

const maxBodyBytes = 1 << 20;

interface Route {
  service: Service;
  action: string;
  /** Undefined where the service has none of that name. */
  operation: Operation | undefined;
}

export class ApiFront {
  readonly #state: RegionState;
  readonly #services: Service[];
  readonly #faults: ApiFaults;
  readonly #requests: RequestRecord[];

  constructor(state: RegionState, services: Service[], faults: ApiFaults, requests: RequestRecord[]) {
    this.#state = state;
    this.#services = services;
    this.#faults = faults;
    this.#requests = requests;
  }

  /** The server's `request` listener. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request).catch(() => undefined);
    if (body === undefined) return void response.destroy();
    const record = newRecord(this.#state, request);
    const route = this.#route(request, body);
    const wire = route?.service.wire;
    let answer: Answer;
    try {
      const output = this.#answer(request, body, record, route);
      answer = wire!.answer(route!.action, output, record.requestId);
    } catch (error) {
      const refusal = toServiceError(error);
      record.error = refusal.code;
      answer = (wire?.refuse ?? refuseAsJson)(refusal, record.requestId);
    }
    record.status = answer.status;
    this.#requests.push(record);
    await this.#faults.answerable(record.action);
    this.#write(response, record, answer);
  }

  #route(request: IncomingMessage, body: Buffer): Route | undefined {
    if (request.method !== 'POST') return undefined;
    for (const service of this.#services) {
      const action = service.wire.action(request, body);
      if (action === undefined) continue;
      const known = Object.hasOwn(service.operations, action);
      return { service, action, operation: known ? service.operations[action] : undefined };
    }
    return undefined;
  }

  #answer(request: IncomingMessage, body: Buffer, record: RequestRecord, route: Route | undefined): object {
    if (route?.operation === undefined) {
      const name = route?.action ?? String(request.headers['x-amz-target']);
      throw new ServiceError('UnknownOperationException', `The operation ${name} is not known.`);
    }
    const { service, action, operation } = route;
    record.service = service.signingName;
    record.action = action;
    const principal = verifySignature(
      { method: 'POST', target: request.url ?? '/', rawHeaders: request.rawHeaders, body },
      {
        findKey: (id) => this.#state.identities.find(id),
        region: this.#state.region,
        service: service.signingName,
        now: this.#state.serviceTime(),
      },
    );
    record.accessKeyId = principal.accessKeyId;
    record.arn = principal.arn;
    const input = service.wire.readInput(body, operation.input);
    record.input = input;
    this.#faults.check(action, input as { SessionId?: unknown });
    this.#state.quotas.take(principal.account, action, service.throttledMessage);
    validate(input, operation.input);
    const { identities } = this.#state;
    const origin = originOf(this.#state, request);
    return operation.run({
      principal,
      input,
      requestId: record.requestId,
      authorize: (...asked) => identities.authorize(principal, origin, ...asked),
      allows: (...asked) => identities.allows(principal, origin, ...asked),
    });
  }

  #write(response: ServerResponse, record: RequestRecord, { contentType, body }: Answer): void {
    response.writeHead(record.status, {
      // Ours and not Node's: clients correct their own clock by it.
      Date: new Date(this.#state.serviceTime()).toUTCString(),
      'x-amzn-RequestId': record.requestId,
      'Content-Type': contentType,
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }
}

/** Of a request that came just now. */
export function newRecord(state: RegionState, request: IncomingMessage): RequestRecord {
  return {
    time: state.serviceTime(),
    at: state.clock.now(),
    service: '',
    action: '',
    accessKeyId: undefined,
    arn: undefined,
    input: undefined,
    requestId: randomUUID(),
    status: 200,
    error: undefined,
    userAgent: request.headers['user-agent'],
  };
}

function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError('InternalServerError', `the simulated region failed: ${String(error)}`, 500);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes)
      throw new ServiceError('RequestEntityTooLargeException', 'Request size exceeds the limit.', 413);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
