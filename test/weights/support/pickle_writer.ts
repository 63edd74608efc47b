/** A pickle in the making: opcodes of protocol 2, one method each. */
export class Pickler {
  private readonly parts: Buffer[] = [Buffer.from([0x80, 2])];

  raw(...bytes: number[]): this {
    this.parts.push(Buffer.from(bytes));
    return this;
  }

  private code(opcode: string, ...rest: Buffer[]): this {
    this.parts.push(Buffer.from(opcode, 'latin1'), ...rest);
    return this;
  }

  text(value: string): this {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return this.code('X', length, bytes);
  }

  int(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return this.code('J', bytes);
  }

  /** LONG1 */
  long(value: bigint): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return this.code('\x8a', Buffer.from([8]), bytes);
  }

  float(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return this.code('G', bytes);
  }

  global(module: string, name: string): this {
    return this.code('c', Buffer.from(`${module}\n${name}\n`));
  }

  mark(): this {
    return this.code('(');
  }

  tuple(): this {
    return this.code('t');
  }

  /** Empty; fill with `setItems` after a mark, keys and values. */
  dict(): this {
    return this.code('}');
  }

  list(): this {
    return this.code(']');
  }

  setItems(): this {
    return this.code('u');
  }

  appends(): this {
    return this.code('e');
  }

  none(): this {
    return this.code('N');
  }

  bool(value: boolean): this {
    return this.code(value ? '\x88' : '\x89');
  }

  reduce(): this {
    return this.code('R');
  }

  build(): this {
    return this.code('b');
  }

  persistentId(): this {
    return this.code('Q');
  }

  put(index: number): this {
    return this.code('q', Buffer.from([index]));
  }

  get(index: number): this {
    return this.code('h', Buffer.from([index]));
  }

  ints(values: readonly number[]): this {
    this.mark();
    for (const value of values) this.long(BigInt(value));
    return this.tuple();
  }

  orderedDict(): this {
    return this.global('collections', 'OrderedDict').mark().tuple().reduce();
  }

  stop(): Uint8Array {
    return new Uint8Array(Buffer.concat([...this.parts, Buffer.from('.')]));
  }
}
