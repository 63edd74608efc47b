import { HrsamError } from '../errors.js';
import { byteCount, DTYPES, type DType, elementCount, MAX_RANK, type Shape } from '../runtime/dtype.js';

/** An attribute of an op: numbers, truth values and lists of numbers. */
export type Attribute = number | boolean | readonly number[];
export type Attributes = Record<string, Attribute>;

/** What attributes may be; all numbers are finite. */
const isFiniteNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
const KINDS = {
  number: { expected: 'a finite number', fits: isFiniteNumber },
  flag: { expected: 'true or false', fits: (value: unknown) => typeof value === 'boolean' },
  list: {
    expected: 'a list of finite numbers',
    fits: (value: unknown) => Array.isArray(value) && value.every(isFiniteNumber),
  },
} as const;

/** A value of the graph: a tensor that is not computed yet. Row-major. */
export interface Value {
  /** Its position among the graph's values. */
  readonly id: number;
  /** Sizes of its axes. */
  readonly shape: Shape;
  /** Type of its elements. */
  readonly dtype: DType;
  /** Where it comes from. */
  readonly source: Source;
}

export type Source =
  | { kind: 'input'; name: string }
  | { kind: 'constant'; name: string }
  | { kind: 'node'; node: Node }
  /** Another shape or a contiguous part of `of`: no memory of its own. `offset` in elements. */
  | { kind: 'view'; of: Value; offset: number };

export type Operands = Record<string, Value>;

export interface Node {
  readonly op: OpDefinition;
  readonly layer: string;
  readonly operands: Operands;
  readonly attributes: Attributes;
  readonly result: Value;
}

/** What shape and cost rules get to see. */
export interface OpContext {
  readonly layer: string;
  readonly operands: Operands;
  readonly attributes: Attributes;
  /** The result's type, where the caller chose one. */
  readonly dtype?: DType;
  /** Ends with ERR_SHAPE, naming layer, op and the shapes of all operands. */
  fail(expected: string): never;
}

/** One op: its schema, written once. native/<backend>/<name>.* implements it. */
export interface OpDefinition {
  readonly name: string;
  /** Operand names; a trailing `?` marks one that may be absent, `...` a list (x0, x1, …). */
  readonly operands: readonly string[];
  /** What its attributes are. Absent: it has none, or those of a node that was added before. */
  readonly attributes?: Readonly<Record<string, keyof typeof KINDS>>;
  /** Shape and type of the result. */
  infer(context: OpContext): { shape: Shape; dtype: DType };
  /** Floating-point operations, a multiply-add counting as two. */
  flops(node: Node): number;
  /** An operand whose memory the result may take over. */
  readonly inPlace?: string;
  /** Where operands lie in the result, in elements, if that is nothing but them: they may be computed into it. */
  parts?(node: Node): { operand: Value; offset: number }[];
  /** The vector-Jacobian product: gradients of the operands, by name. Absent: the result has none. */
  gradient?(context: GradientContext): Record<string, Value | undefined>;
}

/** What a vector-Jacobian product gets to see; it adds its nodes to `graph`. */
export interface GradientContext {
  readonly graph: Graph;
  readonly node: Node;
  /** Gradient of the node's result, of the same shape. */
  readonly dy: Value;
  /** Whether anybody asks for the gradient of this operand. */
  wants(operand: string): boolean;
}

const describe = (operands: Operands): string =>
  Object.entries(operands)
    .map(([name, value]) => `${name} ${value.dtype} [${value.shape.join(', ')}]`)
    .join(', ');

/** What a graph is built for. */
export interface GraphOptions {
  /**
   * The graph will be differentiated: fused epilogues (activations, gates) are built as ops of their own, because their
   * gradients need what fusing does not keep.
   */
  differentiable?: boolean;
  /** Residual branches are scaled per sample, to leave some out: see lib/model/drop_path.ts. */
  dropPath?: boolean;
  /** Large linear layers of bf16 become products of e4m3. */
  fp8?: boolean;
}

/** A forward pass as data. Values are added in execution order. */
export class Graph {
  /** See `GraphOptions`. */
  readonly differentiable: boolean;
  /** See `GraphOptions`. */
  readonly dropPath: boolean;
  /** See `GraphOptions`. */
  readonly fp8: boolean;
  /** Ops in the order of their execution. */
  readonly nodes: Node[] = [];
  /** All values; a value's id is its position. */
  readonly values: Value[] = [];
  /** By name: tensors that each run is given. */
  readonly inputs = new Map<string, Value>();
  /** By name: tensors that are known when compiling. */
  readonly constants = new Map<string, Value>();
  /** By name: what a run returns. */
  readonly outputs = new Map<string, Value>();
  /** Values that tests and tools may ask for by name (`compile(..., { trace })`). */
  readonly marks = new Map<string, Value>();
  /** Ranges of ids, end excluded, of values that a backward pass may compute again instead of keeping them. */
  readonly segments: { begin: number; end: number }[] = [];
  readonly #scopes: string[] = [];

  constructor(options: GraphOptions = {}) {
    this.differentiable = options.differentiable ?? false;
    this.dropPath = options.dropPath ?? false;
    this.fp8 = options.fp8 ?? false;
  }

  /** The layer that values are added to, as `scope` named it. */
  get layer(): string {
    return this.#scopes.join('.');
  }

  /** Everything `build` adds belongs to the layer `name`, inside the current one. */
  scope<T>(name: string, build: () => T): T {
    this.#scopes.push(name);
    try {
      return build();
    } finally {
      this.#scopes.pop();
    }
  }

  /** A layer whose insides a backward pass may compute again instead of keeping them. */
  recomputable<T>(name: string, build: () => T): T {
    const begin = this.values.length;
    const built = this.scope(name, build);
    this.segments.push({ begin, end: this.values.length });
    return built;
  }

  /** A tensor that each run is given. @throws HrsamError ERR_SHAPE, ERR_ARGUMENT */
  input(name: string, shape: Shape, dtype: DType = 'f32'): Value {
    return this.#once(this.inputs, { kind: 'input', name }, shape, dtype);
  }

  /** A weight by the name it has in the weights file. Its type there may differ: it is read as `dtype`. */
  constant(name: string, shape: Shape, dtype: DType = 'f32'): Value {
    return this.#once(this.constants, { kind: 'constant', name }, shape, dtype);
  }

  /** Makes a value part of what a run returns. @throws HrsamError ERR_ARGUMENT for what is no value of this graph */
  output(name: string, value: Value): void {
    this.checkOwn(value, `output '${name}'`);
    this.outputs.set(name, value);
  }

  /** Names a value for tests and tools. */
  mark(name: string, value: Value): Value {
    this.marks.set(name, value);
    return value;
  }

  /** The same elements under another shape; one size may be −1. */
  reshape(value: Value, shape: Shape): Value {
    this.checkOwn(value, 'reshape');
    if (!Array.isArray(shape))
      throw new HrsamError('ERR_ARGUMENT', 'shape', {
        where: this.layer || 'reshape',
        expected: 'a list of sizes',
        actual: shape,
      });
    const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1);
    const full = shape.map((size) => (size === -1 ? elementCount(value.shape) / known : size));
    if (elementCount(full) !== elementCount(value.shape) || full.some((size) => !Number.isInteger(size))) {
      throw new HrsamError('ERR_SHAPE', 'reshape', {
        where: this.layer,
        expected: shape,
        actual: value.shape,
      });
    }
    return this.view(value, full, 0);
  }

  /** A contiguous part under a shape of its own; `offset` in elements. */
  view(of: Value, shape: Shape, offset: number): Value {
    this.checkOwn(of, 'view');
    const view = this.#value(shape, of.dtype, { kind: 'view', of, offset });
    const end = offset + elementCount(shape);
    if (!Number.isInteger(offset) || !(offset >= 0 && end <= elementCount(of.shape))) {
      const where = this.layer;
      throw new HrsamError('ERR_SHAPE', `a part from ${offset} to ${end}`, { where, actual: of.shape });
    }
    return view;
  }

  /** Rows start … end of the first axis, without a copy. */
  rows(value: Value, start: number, end: number): Value {
    this.checkOwn(value, 'rows');
    const [first = 0, ...rest] = value.shape;
    const whole = Number.isInteger(start) && Number.isInteger(end);
    if (!(whole && start >= 0 && start < end && end <= first)) {
      throw new HrsamError('ERR_SHAPE', `rows ${start} … ${end}`, { where: this.layer, actual: value.shape });
    }
    return this.view(value, [end - start, ...rest], start * elementCount(rest));
  }

  /** Adds a node; `dtype` asks for the result's type where the op leaves a choice. */
  add(
    op: OpDefinition,
    operands: Record<string, Value | undefined>,
    attributes: Attributes = {},
    dtype?: DType,
  ): Value {
    const present: Operands = {};
    const layer = this.layer || op.name;
    for (const [name, value] of Object.entries(operands)) {
      if (value === undefined) continue;
      this.checkOwn(value, `${layer}, operand '${name}'`);
      present[name] = value;
    }
    for (const [name, kind] of Object.entries(op.attributes ?? {})) {
      const { expected, fits } = KINDS[kind];
      const actual: unknown = attributes[name];
      const where = this.layer ? `${layer} (${op.name})` : op.name;
      if (!fits(actual))
        throw new HrsamError('ERR_ARGUMENT', name, { where, expected, actual: actual ?? String(actual) });
    }
    this.#checkOperands(op, present, layer);
    const fail = (expected: string): never => {
      throw new HrsamError('ERR_SHAPE', op.name, { where: layer, expected, actual: describe(present) });
    };
    const inferred = op.infer({ layer, operands: present, attributes, dtype, fail });
    const node = { op, layer, operands: present, attributes } as { -readonly [K in keyof Node]: Node[K] };
    node.result = this.#value(inferred.shape, inferred.dtype, { kind: 'node', node });
    this.nodes.push(node);
    return node.result;
  }

  #checkOperands(op: OpDefinition, present: Operands, layer: string): void {
    const known = new Set<string>();
    for (const declared of op.operands) {
      if (declared.endsWith('...')) {
        for (let i = 0; present[`x${i}`]; i++) known.add(`x${i}`);
        continue;
      }
      const name = declared.replace('?', '');
      known.add(name);
      if (name === declared && !present[name]) {
        throw new HrsamError('ERR_SHAPE', `${op.name} needs operand '${name}'`, {
          where: layer,
          actual: describe(present),
        });
      }
    }
    for (const name of Object.keys(present)) {
      if (!known.has(name))
        throw new HrsamError('ERR_INTERNAL', `${op.name} has no operand '${name}'`, { where: layer });
    }
  }

  /** @internal @throws HrsamError ERR_ARGUMENT for what is no value of this graph */
  checkOwn(value: Value, where: string): void {
    if (!value || this.values[value.id] !== value)
      throw new HrsamError('ERR_ARGUMENT', 'not a value of this graph', { where });
  }

  #once(
    map: Map<string, Value>,
    source: { kind: 'input' | 'constant'; name: string },
    shape: Shape,
    dtype: DType,
  ): Value {
    const known = map.get(source.name);
    if (!known) {
      const value = this.#value(shape, dtype, source);
      map.set(source.name, value);
      return value;
    }
    const [expected, actual] = [known, { shape, dtype }].map((value) => `${value.dtype} [${value.shape}]`);
    if (actual !== expected) {
      const where = `${source.kind} '${source.name}'`;
      throw new HrsamError('ERR_SHAPE', 'is there already', { where, expected, actual });
    }
    return known;
  }

  #value(shape: Shape, dtype: DType, source: Source): Value {
    if (!DTYPES.includes(dtype)) {
      throw new HrsamError('ERR_ARGUMENT', 'dtype', {
        where: this.layer,
        expected: DTYPES.join(', '),
        actual: dtype,
      });
    }
    const known = Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    if (!known || shape.length > MAX_RANK) {
      throw new HrsamError('ERR_SHAPE', known ? 'too many dimensions' : 'sizes of a value', {
        where: this.layer,
        expected: known ? `${MAX_RANK} at most` : 'a list of whole numbers, 0 or more',
        actual: shape,
      });
    }
    const value = { id: this.values.length, shape: Object.freeze([...shape]), dtype, source };
    this.values.push(value);
    return value;
  }
}

/** The value whose memory a view shows, and where in it, in bytes. */
export function root(value: Value): { value: Value; offset: number } {
  let offset = 0;
  let at = value;
  while (at.source.kind === 'view') {
    offset += at.source.offset * byteCount([], at.dtype);
    at = at.source.of;
  }
  return { value: at, offset };
}
