// Writes the data types of SSH (RFC 4251 section 5). What can't be written in a type throws a RangeError: that is a
// mistake of ours, never a peer's.

export class Writer {
  readonly #parts: Buffer[] = [];

  byte(value: number): this {
    const part = Buffer.allocUnsafe(1);
    part.writeUInt8(value);
    return this.raw(part);
  }

  boolean(value: boolean): this {
    return this.byte(value ? 1 : 0);
  }

  uint32(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32BE(value);
    return this.raw(part);
  }

  uint64(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64BE(value);
    return this.raw(part);
  }

  /** Text is written in UTF-8. */
  string(value: Uint8Array | string): this {
    const part = typeof value === 'string' ? Buffer.from(value) : value;
    return this.uint32(part.length).raw(part);
  }

  mpint(value: bigint): this {
    return this.string(twosComplement(value));
  }

  nameList(names: readonly string[]): this {
    if (!names.every((name) => /^[\x21-\x2b\x2d-\x7e]+$/.test(name))) throw new RangeError('a bad name in a name-list');
    return this.string(names.join(','));
  }

  /** Bytes as they are. They are not copied before `finish`. */
  raw(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** The shortest form; zero has no bytes. */
function twosComplement(value: bigint): Buffer {
  if (value === 0n) return Buffer.alloc(0);
  let length = 1;
  while (BigInt.asIntN(8 * length, value) !== value) length += 1;
  const hex = BigInt.asUintN(8 * length, value).toString(16);
  return Buffer.from(hex.padStart(2 * length, '0'), 'hex');
}
