// The HTTP side of the region: one JSON 1.1 call per POST, in AWS's order of refusals (signature, quota, model,
// permission, operation), with a record of every call. Error shapes: protocol.md 1.1.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ServiceError } from '../errors.ts';
import { verifySignature } from '../sigv4.ts';
import type { RegionState } from '../state.ts';
import type { ApiFaults } from './faults.ts';
import type { RequestRecord, Service } from './service.ts';
import { validate } from './shape.ts';

const maxBodyBytes = 1 << 20;

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
    const record: RequestRecord = {
      time: this.#state.serviceTime(),
      service: '',
      action: '',
      accessKeyId: undefined,
      input: undefined,
      requestId: randomUUID(),
      status: 200,
      error: undefined,
      userAgent: request.headers['user-agent'],
    };
    let answer: object;
    try {
      answer = this.#answer(request, body, record);
    } catch (error) {
      const refusal = toServiceError(error);
      record.status = refusal.status;
      record.error = refusal.code;
      answer = { __type: refusal.code, message: refusal.message };
    }
    this.#requests.push(record);
    this.#write(response, record, answer);
  }

  #answer(request: IncomingMessage, body: Buffer, record: RequestRecord): object {
    const [prefix = '', action = ''] = String(request.headers['x-amz-target'] ?? '').split('.');
    const service = this.#services.find((candidate) => candidate.targetPrefix === prefix);
    const operation =
      service !== undefined && Object.hasOwn(service.operations, action) ? service.operations[action] : undefined;
    if (request.method !== 'POST' || service === undefined || operation === undefined) {
      throw new ServiceError('UnknownOperationException', `The operation ${prefix}.${action} is not known.`);
    }
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
    const input = parseJson(body);
    record.input = input;
    this.#faults.check(action);
    this.#state.quotas.take(principal.account, action, service.throttledMessage);
    validate(input, operation.input);
    return operation.run({ principal, input, requestId: record.requestId });
  }

  #write(response: ServerResponse, record: RequestRecord, answer: object): void {
    const body = Buffer.from(JSON.stringify(answer));
    response.writeHead(record.status, {
      // Ours and not Node's: clients correct their own clock by it.
      Date: new Date(this.#state.serviceTime()).toUTCString(),
      'x-amzn-RequestId': record.requestId,
      'Content-Type': 'application/x-amz-json-1.1',
      'Content-Length': body.length,
    });
    response.end(body);
  }
}

function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError('InternalServerError', `the simulated region failed: ${String(error)}`, 500);
}

function parseJson(body: Buffer): unknown {
  try {
    return body.length === 0 ? {} : JSON.parse(body.toString());
  } catch {
    throw new ServiceError('SerializationException', 'The request is not valid JSON.');
  }
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
