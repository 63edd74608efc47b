import { HrsamError } from '../errors.js';

/**
 * Reads Python pickles **as data**. No global is imported and nothing is called: a global is its name, and what a pickle
 * would build by calling one becomes an `Inert` record of the call. What such a record means, if anything, is for the reader
 * of the values to decide (`pytorch.ts` knows tensors); everything else in a checkpoint is dead weight.
 */

/** `module.name`, as text. */
export class Global {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  toString(): string {
    const name = `${this.module}.${this.name}`.replace(/[^\x20-\x7e]/g, '?');
    return name.length > 100 ? `${name.slice(0, 100)}…` : name;
  }
}

export class Tuple {
  constructor(readonly items: readonly Pickled[]) {}
}

/** A call that was never made: `callable(...args)`, with what the pickle then stored into the result. */
export class Inert {
  state?: Pickled;
  // Most have neither.
  #items?: Pickled[];
  #entries?: Map<Pickled, Pickled>;

  constructor(
    readonly callable: Pickled,
    readonly args: Pickled,
  ) {}

  get items(): Pickled[] {
    this.#items ??= [];
    return this.#items;
  }

  get entries(): Map<Pickled, Pickled> {
    this.#entries ??= new Map();
    return this.#entries;
  }

  toString(): string {
    return this.callable instanceof Global ? `a call of ${this.callable}` : 'a call of something unknown';
  }
}

/** An object outside the pickle, in PyTorch's files a storage. */
export class PersistentId {
  constructor(readonly id: Pickled) {}
}

export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Pickled[]
  | Map<Pickled, Pickled>
  | Set<Pickled>
  | Tuple
  | Global
  | Inert
  | PersistentId;

export const MAX_PICKLE_BYTES = 256 << 20;
const MAX_STACK = 1_000_000;
const MAX_MEMO = 1_000_000;
/** Real checkpoints take some hundred thousand; each step makes at most one small object … */
const MAX_STEPS = 4_000_000;
/** … and few that are not so small: a map or a set of nothing is 200 bytes. */
const MAX_TABLES = 500_000;
const MAX_INTEGER_BYTES = 64;

const MARK = Symbol('mark');

/**
 * The value that a pickle (protocol 2 to 5) describes.
 * @param where what errors name
 * @throws HrsamError ERR_WEIGHTS for anything but the opcodes of data, a damaged stream, or one beyond all bounds
 */
export const readPickle = (bytes: Uint8Array, where: string): Pickled => new Machine(bytes, where).run();

class Machine {
  private at = 0;
  private tables = 0;
  private readonly data: DataView;
  private readonly stack: (Pickled | typeof MARK)[] = [];
  /** A Map, so that an index of four billion costs nothing. */
  private readonly memo = new Map<number, Pickled>();

  constructor(
    private readonly bytes: Uint8Array,
    private readonly where: string,
  ) {
    this.data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): Pickled {
    if (this.bytes.length > MAX_PICKLE_BYTES)
      this.fail('the pickle is too large', `at most ${MAX_PICKLE_BYTES} bytes`);
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const opcode = this.u8();
      if (opcode === 0x2e) {
        const result = this.pop();
        if (this.stack.length > 0) this.fail('values are left over when the pickle stops');
        return result;
      }
      const action = ACTIONS.get(opcode);
      if (!action) this.fail(`the pickle uses opcode 0x${opcode.toString(16)}, which is not allowed here`);
      else action(this);
      if (this.stack.length > MAX_STACK) this.fail('the pickle piles up too many values');
    }
    return this.fail('the pickle takes too many steps');
  }

  fail(summary: string, expected?: string): never {
    const message = `${summary} (byte ${this.at} of the pickle)`;
    throw new HrsamError('ERR_WEIGHTS', message, { where: this.where, expected });
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) this.fail('the pickle is cut off');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** Steps over a number; the view then has it right before `at`. */
  private step(length: number): DataView {
    this.take(length);
    return this.data;
  }

  u8 = (): number => this.step(1).getUint8(this.at - 1);
  u16 = (): number => this.step(2).getUint16(this.at - 2, true);
  i32 = (): number => this.step(4).getInt32(this.at - 4, true);
  u32 = (): number => this.step(4).getUint32(this.at - 4, true);
  f64 = (): number => this.step(8).getFloat64(this.at - 8, false);
  u64 = (): number => {
    const value = this.step(8).getBigUint64(this.at - 8, true);
    return value > BigInt(MAX_PICKLE_BYTES) ? this.fail('the pickle is cut off') : Number(value);
  };

  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) this.fail('the pickle is cut off');
    const text = this.text(end - this.at);
    this.at = end + 1;
    return text;
  }

  text(length: number): string {
    const bytes = this.take(length);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.fail('the pickle holds text that is not UTF-8');
    }
  }

  /** Little-endian two's complement. */
  integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) this.fail('the pickle holds an integer that is too long');
    let value = 0n;
    for (const byte of this.take(length).toReversed()) value = (value << 8n) | BigInt(byte);
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  push(value: Pickled): void {
    this.stack.push(value);
  }

  /** Of a map, a set or a call's record, which may have one. */
  pushTable(value: Pickled): void {
    if (++this.tables > MAX_TABLES) this.fail('the pickle makes too many tables');
    this.push(value);
  }

  pushMark(): void {
    this.stack.push(MARK);
  }

  pop(): Pickled {
    const value = this.stack.pop();
    if (value === undefined || value === MARK) return this.fail('the pickle takes a value that is not there');
    return value;
  }

  top(): Pickled {
    const value = this.stack.at(-1);
    if (value === undefined || value === MARK) return this.fail('the pickle takes a value that is not there');
    return value;
  }

  popToMark(): Pickled[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) return this.fail('the pickle takes values up to a mark that is not there');
    const values = this.stack.splice(mark) as Pickled[];
    return values.slice(1);
  }

  remember(index: number): void {
    if (this.memo.size >= MAX_MEMO) this.fail('the pickle remembers too many values');
    this.memo.set(index, this.top());
  }

  rememberNext(): void {
    this.remember(this.memo.size);
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) this.fail(`the pickle recalls value ${index}, which it never stored`);
    else this.push(value);
  }

  pushGlobal(module: Pickled, name: Pickled): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      this.fail('the pickle names a global by something that is no text');
    else this.push(new Global(module, name));
  }

  /** The record of a call; nothing is called. */
  pushCall(args: Pickled): void {
    this.pushTable(new Inert(this.pop(), args));
  }

  append(values: readonly Pickled[]): void {
    const target = this.top();
    if (!Array.isArray(target) && !(target instanceof Inert)) this.fail('the pickle appends to no list');
    const list = target instanceof Inert ? target.items : target;
    for (const value of values) list.push(value);
  }

  add(values: readonly Pickled[]): void {
    const target = this.top();
    if (!(target instanceof Set)) this.fail('the pickle adds to no set');
    for (const value of values) target.add(value);
  }

  assign(values: readonly Pickled[]): void {
    const target = this.top();
    if (!(target instanceof Map) && !(target instanceof Inert))
      this.fail('the pickle assigns to no dictionary');
    if (values.length % 2 !== 0) this.fail('the pickle assigns a key without a value');
    const map = target instanceof Inert ? target.entries : target;
    for (let i = 0; i < values.length; i += 2) map.set(values[i]!, values[i + 1]!);
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    if (!(target instanceof Inert)) this.fail('the pickle gives a state to no object');
    target.state = state;
  }
}

const dictionary = (machine: Machine, values: Pickled[]): void => {
  machine.pushTable(new Map());
  machine.assign(values);
};

/** The opcodes of protocols 2 to 5 that describe data; the text forms of protocol 0 and the extension registry are not among them. */
const ACTIONS = new Map<number, (machine: Machine) => void>([
  [0x80, (m) => void m.u8()], // PROTO
  [0x95, (m) => void m.u64()], // FRAME: a hint for buffering
  [0x28, (m) => m.pushMark()], // MARK
  [0x30, (m) => void m.pop()], // POP
  [0x31, (m) => void m.popToMark()], // POP_MARK
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4a, (m) => m.push(m.i32())], // BININT
  [0x4b, (m) => m.push(m.u8())], // BININT1
  [0x4d, (m) => m.push(m.u16())], // BININT2
  [0x8a, (m) => m.push(m.integer(m.u8()))], // LONG1
  [0x8b, (m) => m.push(m.integer(m.u32()))], // LONG4
  [0x47, (m) => m.push(m.f64())], // BINFLOAT
  [0x8c, (m) => m.push(m.text(m.u8()))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(m.text(m.u32()))], // BINUNICODE
  [0x8d, (m) => m.push(m.text(m.u64()))], // BINUNICODE8
  [0x55, (m) => m.push(m.take(m.u8()))], // SHORT_BINSTRING
  [0x54, (m) => m.push(m.take(m.u32()))], // BINSTRING
  [0x43, (m) => m.push(m.take(m.u8()))], // SHORT_BINBYTES
  [0x42, (m) => m.push(m.take(m.u32()))], // BINBYTES
  [0x8e, (m) => m.push(m.take(m.u64()))], // BINBYTES8
  [0x96, (m) => m.push(m.take(m.u64()))], // BYTEARRAY8
  [0x29, (m) => m.push(new Tuple([]))], // EMPTY_TUPLE
  [0x85, (m) => m.push(new Tuple([m.pop()]))], // TUPLE1
  [0x86, (m) => m.push(new Tuple([m.pop(), m.pop()].reverse()))], // TUPLE2
  [0x87, (m) => m.push(new Tuple([m.pop(), m.pop(), m.pop()].reverse()))], // TUPLE3
  [0x74, (m) => m.push(new Tuple(m.popToMark()))], // TUPLE
  [0x5d, (m) => m.push([])], // EMPTY_LIST
  [0x6c, (m) => m.push(m.popToMark())], // LIST
  [0x61, (m) => m.append([m.pop()])], // APPEND
  [0x65, (m) => m.append(m.popToMark())], // APPENDS
  [0x7d, (m) => m.pushTable(new Map())], // EMPTY_DICT
  [0x64, (m) => dictionary(m, m.popToMark())], // DICT
  [0x73, (m) => m.assign([m.pop(), m.pop()].reverse())], // SETITEM
  [0x75, (m) => m.assign(m.popToMark())], // SETITEMS
  [0x8f, (m) => m.pushTable(new Set())], // EMPTY_SET
  [0x90, (m) => m.add(m.popToMark())], // ADDITEMS
  [0x91, (m) => m.pushTable(new Set(m.popToMark()))], // FROZENSET
  [0x71, (m) => m.remember(m.u8())], // BINPUT
  [0x72, (m) => m.remember(m.u32())], // LONG_BINPUT
  [0x94, (m) => m.rememberNext()], // MEMOIZE
  [0x68, (m) => m.recall(m.u8())], // BINGET
  [0x6a, (m) => m.recall(m.u32())], // LONG_BINGET
  [0x63, (m) => m.pushGlobal(m.line(), m.line())], // GLOBAL
  [0x93, (m) => m.pushGlobal(...([m.pop(), m.pop()].reverse() as [Pickled, Pickled]))], // STACK_GLOBAL
  [0x52, (m) => m.pushCall(m.pop())], // REDUCE
  [0x81, (m) => m.pushCall(m.pop())], // NEWOBJ
  [0x92, (m) => m.pushCall(new Tuple([m.pop(), m.pop()].reverse()))], // NEWOBJ_EX
  [0x62, (m) => m.build()], // BUILD
  [0x51, (m) => m.push(new PersistentId(m.pop()))], // BINPERSID
]);
