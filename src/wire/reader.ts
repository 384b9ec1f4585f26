// Reads the data types of SSH (RFC 4251 section 5) from bytes that a peer wrote. Never reads past the end, never
// copies: strings are views of what it was given. Whatever does not fit is a ProtocolError with the caller's code.
import { ProtocolError } from '../errors.ts';

/** Longest mpint that is read, in bytes: 16,384 bits, as OpenSSH takes (SSHBUF_MAX_BIGNUM), and a sign byte. */
export const maxMpintLength = 16_384 / 8 + 1;

export class Reader {
  readonly #bytes: Buffer;
  readonly #code: string;
  #at = 0;

  /** `code` is that of the ProtocolError thrown by every method, whose side is `remote`. */
  constructor(bytes: Buffer, code: string) {
    this.#bytes = bytes;
    this.#code = code;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    return this.#take(1, 'byte')[0]!;
  }

  /** All values but 0 are true. */
  boolean(): boolean {
    return this.#take(1, 'boolean')[0] !== 0;
  }

  uint32(): number {
    return this.#take(4, 'uint32').readUInt32BE();
  }

  uint64(): bigint {
    return this.#take(8, 'uint64').readBigUInt64BE();
  }

  /** A view, not a copy. */
  string(): Buffer {
    return this.#take(this.uint32(), 'string');
  }

  /** A string that is text: UTF-8, without NUL. */
  text(): string {
    const bytes = this.string();
    if (bytes.includes(0)) throw this.malformed('a text with a NUL');
    try {
      return utf8.decode(bytes);
    } catch {
      throw this.malformed('a text that is not UTF-8');
    }
  }

  /** Two's complement, in its shortest form, as the RFC demands. */
  mpint(): bigint {
    const bytes = this.string();
    const [first, second] = bytes;
    if (first === undefined) return 0n;
    if (bytes.length > maxMpintLength) throw this.malformed(`an mpint of ${bytes.length} bytes`);
    const padding = first === 0 ? 0 : first === 0xff ? 0x80 : undefined;
    if (padding !== undefined && (second === undefined ? first === 0 : (second & 0x80) === padding)) {
      throw this.malformed('an mpint that is not in its shortest form');
    }
    const magnitude = BigInt(`0x${bytes.toString('hex')}`);
    return first & 0x80 ? magnitude - (1n << BigInt(8 * bytes.length)) : magnitude;
  }

  nameList(): string[] {
    const text = this.string().toString('latin1');
    if (text === '') return [];
    const names = text.split(',');
    if (!names.every((name) => /^[\x21-\x7e]+$/.test(name))) throw this.malformed('a bad name-list');
    return names;
  }

  /** Everything that is left. */
  rest(): Buffer {
    return this.#take(this.remaining, 'byte[]');
  }

  /** To be called where nothing may follow. */
  end(): void {
    if (this.remaining > 0) throw this.malformed(`${this.remaining} bytes too many`);
  }

  malformed(what: string): ProtocolError {
    return new ProtocolError(this.#code, `the peer sent ${what}`, { side: 'remote' });
  }

  #take(length: number, type: string): Buffer {
    if (length > this.remaining) {
      throw this.malformed(`a ${type} of ${length} bytes where ${this.remaining} are left`);
    }
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
