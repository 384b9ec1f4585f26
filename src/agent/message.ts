// The messages of the ssh-agent protocol, bytes ⇄ value (RFC 9987). No I/O, no state but that of the frame reader.
// A request that is not known keeps its body: it is passed on or refused, and the stream stays in step.
import { ProtocolError } from '../errors.ts';
import { Reader } from '../wire/reader.ts';
import { Writer } from '../wire/writer.ts';

/** RFC 9987 section 8.1. */
export const MessageNumber = {
  SSH_AGENT_FAILURE: 5,
  SSH_AGENT_SUCCESS: 6,
  SSH_AGENTC_REQUEST_IDENTITIES: 11,
  SSH_AGENT_IDENTITIES_ANSWER: 12,
  SSH_AGENTC_SIGN_REQUEST: 13,
  SSH_AGENT_SIGN_RESPONSE: 14,
  SSH_AGENTC_ADD_IDENTITY: 17,
  SSH_AGENTC_REMOVE_IDENTITY: 18,
  SSH_AGENTC_REMOVE_ALL_IDENTITIES: 19,
  SSH_AGENTC_ADD_SMARTCARD_KEY: 20,
  SSH_AGENTC_REMOVE_SMARTCARD_KEY: 21,
  SSH_AGENTC_LOCK: 22,
  SSH_AGENTC_UNLOCK: 23,
  SSH_AGENTC_ADD_ID_CONSTRAINED: 25,
  SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED: 26,
  SSH_AGENTC_EXTENSION: 27,
  SSH_AGENT_EXTENSION_FAILURE: 28,
  SSH_AGENT_EXTENSION_RESPONSE: 29,
} as const;

/** RFC 9987 section 8.3. */
export const SignatureFlag = { SSH_AGENT_RSA_SHA2_256: 2, SSH_AGENT_RSA_SHA2_512: 4 } as const;

/** OpenSSH, PROTOCOL.agent section 1. */
export const sessionBindExtension = 'session-bind@openssh.com';

/** Bound of a message without its length field: AGENT_MAX_LEN and MAX_AGENT_REPLY_LEN of OpenSSH. */
export const maxMessageLength = 256 * 1024;

const n = MessageNumber;
const code = 'agent-message';

/** A request as far as keyhole has to understand it. */
export type Request =
  | { type: 'identities' }
  | { type: 'sign'; keyBlob: Buffer; data: Buffer; flags: number }
  | { type: 'remove'; keyBlob: Buffer }
  | { type: 'session-bind'; bind: SessionBind }
  | { type: 'other'; number: number };

export interface SessionBind {
  hostKey: Buffer;
  sessionId: Buffer;
  signature: Buffer;
  isForwarding: boolean;
}

export interface Identity {
  keyBlob: Buffer;
  /** UTF-8 by the RFC, but whatever the agent's owner wrote: never decoded. */
  comment: Buffer;
}

/** Whether the client means to bind the connection, however badly it says so. */
export function isSessionBind(message: Buffer): boolean {
  return message.subarray(0, sessionBindHead.length).equals(sessionBindHead);
}

/**
 * Reads a request; views of `message`. Bytes behind the last field of an understood request are refused.
 * @throws ProtocolError `agent-message`
 */
export function parseRequest(message: Buffer): Request {
  const reader = new Reader(message, code);
  const number = reader.byte();
  const request = parseBody(number, message, reader);
  if (request.type !== 'other') reader.end();
  return request;
}

function parseBody(number: number, message: Buffer, reader: Reader): Request {
  switch (number) {
    case n.SSH_AGENTC_REQUEST_IDENTITIES:
      return { type: 'identities' };
    // string key blob, string data, uint32 flags (section 5.6)
    case n.SSH_AGENTC_SIGN_REQUEST:
      return { type: 'sign', keyBlob: reader.string(), data: reader.string(), flags: reader.uint32() };
    // string key blob (section 5.4)
    case n.SSH_AGENTC_REMOVE_IDENTITY:
      return { type: 'remove', keyBlob: reader.string() };
    // string extension type, byte[] contents (section 5.8); of session-bind (PROTOCOL.agent section 1):
    // string hostkey, string session identifier, string signature, bool is_forwarding
    case n.SSH_AGENTC_EXTENSION:
      if (!isSessionBind(message)) return { type: 'other', number };
      reader.string();
      return {
        type: 'session-bind',
        bind: {
          hostKey: reader.string(),
          sessionId: reader.string(),
          signature: reader.string(),
          isForwarding: reader.boolean(),
        },
      };
    default:
      return { type: 'other', number };
  }
}

/**
 * The keys of an SSH_AGENT_IDENTITIES_ANSWER (section 5.5); undefined for the answer of an agent that refuses.
 * @throws ProtocolError `agent-message`
 */
export function parseIdentitiesAnswer(message: Buffer): Identity[] | undefined {
  const reader = new Reader(message, code);
  const number = reader.byte();
  if (number === n.SSH_AGENT_FAILURE) return undefined;
  if (number !== n.SSH_AGENT_IDENTITIES_ANSWER) throw reader.malformed(`message ${number} instead of a list of keys`);
  const identities: Identity[] = [];
  // The count alone is never trusted with memory: each key has to be there.
  for (let left = reader.uint32(); left > 0; left -= 1) {
    identities.push({ keyBlob: reader.string(), comment: reader.string() });
  }
  reader.end();
  return identities;
}

/** Keys that would make the answer longer than a message may be are left out, from the end. */
export function serializeIdentitiesAnswer(identities: readonly Identity[]): Buffer {
  let length = 1 + 4;
  const fitting = identities.filter(({ keyBlob, comment }) => {
    length += 8 + keyBlob.length + comment.length;
    return length <= maxMessageLength;
  });
  const writer = new Writer().byte(n.SSH_AGENT_IDENTITIES_ANSWER).uint32(fitting.length);
  for (const { keyBlob, comment } of fitting) writer.string(keyBlob).string(comment);
  return writer.finish();
}

export function serializeSignResponse(signature: Buffer): Buffer {
  return new Writer().byte(n.SSH_AGENT_SIGN_RESPONSE).string(signature).finish();
}

export const requestIdentities: Buffer = Buffer.from([n.SSH_AGENTC_REQUEST_IDENTITIES]);
export const failure: Buffer = Buffer.from([n.SSH_AGENT_FAILURE]);
export const success: Buffer = Buffer.from([n.SSH_AGENT_SUCCESS]);
export const extensionFailure: Buffer = Buffer.from([n.SSH_AGENT_EXTENSION_FAILURE]);

/** uint32 length, byte type, byte[length - 1] contents (section 5). */
export function serializeFrame(message: Buffer): Buffer {
  return new Writer().string(message).finish();
}

/** Takes chunks of any size, gives whole messages. Memory is bounded by what was really sent. */
export class FrameReader {
  #head: Buffer = Buffer.alloc(0);
  #body: Buffer | undefined;
  #length = 0;
  #filled = 0;

  /**
   * The messages that `chunk` completes. Those that lie whole in it are views of it.
   * @throws ProtocolError `agent-message`: no message of an allowed length starts here, and the stream is of no use
   */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.#body === undefined ? this.#start(rest, messages) : this.#fill(this.#body, rest, messages);
    }
    return messages;
  }

  #start(bytes: Buffer, messages: Buffer[]): Buffer {
    const all = this.#head.length === 0 ? bytes : Buffer.concat([this.#head, bytes]);
    if (all.length < 4) {
      this.#head = Buffer.from(all);
      return nothing;
    }
    this.#head = nothing;
    const length = all.readUInt32BE(0);
    if (length < 1 || length > maxMessageLength) {
      throw new ProtocolError(code, `the peer sent a message of ${length} bytes`, { side: 'remote' });
    }
    if (all.length >= 4 + length) {
      messages.push(all.subarray(4, 4 + length));
      return all.subarray(4 + length);
    }
    this.#length = length;
    this.#filled = 0;
    this.#body = Buffer.allocUnsafe(Math.min(length, firstRoom));
    return all.subarray(4);
  }

  #fill(body: Buffer, bytes: Buffer, messages: Buffer[]): Buffer {
    const part = bytes.subarray(0, this.#length - this.#filled);
    let room = body;
    if (this.#filled + part.length > room.length) {
      room = Buffer.allocUnsafe(Math.min(this.#length, Math.max(2 * room.length, this.#filled + part.length)));
      body.copy(room, 0, 0, this.#filled);
    }
    part.copy(room, this.#filled);
    this.#filled += part.length;
    this.#body = room;
    if (this.#filled === this.#length) {
      messages.push(room);
      this.#body = undefined;
    }
    return bytes.subarray(part.length);
  }
}

/** Room for a message that comes in parts; it doubles with what comes, not with what was announced. */
const firstRoom = 4096;
const nothing = Buffer.alloc(0);
const sessionBindHead = new Writer().byte(n.SSH_AGENTC_EXTENSION).string(sessionBindExtension).finish();
