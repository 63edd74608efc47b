import { HrsamError } from '../errors.js';
import { byteCount, DTYPES, type DType } from '../runtime/dtype.js';
import { type Plan, type PlanValue, STORAGE } from '../runtime/plan.js';
import { layOut, type Span } from './arena.js';
import { type Attribute, type Graph, type Node, root, type Value } from './graph.js';
import { copy } from './ops/cast.js';

/** Constants-only results larger than this are computed in every run rather than kept. */
const FOLD_LIMIT = 80 << 20;

const numbers = (attribute: Attribute): number[] =>
  typeof attribute === 'object' ? [...attribute] : [Number(attribute)];

const bytesOf = (value: Value): number => byteCount(value.shape, value.dtype);

/** Nodes that the outputs depend on, in order. */
function reachable(graph: Graph, outputs: Iterable<Value>): Node[] {
  const wanted = new Set<Value>();
  for (const output of outputs) wanted.add(root(output).value);
  const kept: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    // One that is supplied from outside needs no node.
    if (!wanted.has(node.result) || node.result.source.kind !== 'node') continue;
    kept.push(node);
    for (const operand of Object.values(node.operands)) wanted.add(root(operand).value);
  }
  return kept.reverse();
}

/** Values that depend on constants alone and are small enough to keep. */
function foldable(nodes: readonly Node[]): Set<Value> {
  const folded = new Set<Value>();
  for (const node of nodes) {
    const constant = Object.values(node.operands).every((operand) => {
      const { value } = root(operand);
      return value.source.kind === 'constant' || folded.has(value);
    });
    if (constant && bytesOf(node.result) <= FOLD_LIMIT) folded.add(node.result);
  }
  return folded;
}

/** The last node that reads each value. */
function lastUses(nodes: readonly Node[]): Map<Value, number> {
  const lastUse = new Map<Value, number>();
  nodes.forEach((node, at) => {
    for (const operand of Object.values(node.operands)) lastUse.set(root(operand).value, at);
  });
  return lastUse;
}

/**
 * The operand whose memory the node's result may take over: it dies here, has the same type and is as large, and nobody
 * else reads it.
 */
function takenOver(
  node: Node,
  at: number,
  lastUse: Map<Value, number>,
  inArena: (value: Value) => boolean,
): Value | undefined {
  const operand = node.op.inPlace ? node.operands[node.op.inPlace] : undefined;
  if (!operand) return undefined;
  const owner = root(operand);
  const shared = Object.entries(node.operands).some(
    ([name, other]) => name !== node.op.inPlace && root(other).value === owner.value,
  );
  const bytes = bytesOf(operand);
  const fits =
    operand.dtype === node.result.dtype && bytes === bytesOf(owner.value) && bytes === bytesOf(node.result);
  return fits && !shared && inArena(owner.value) && lastUse.get(owner.value) === at ? owner.value : undefined;
}

/**
 * Lays out a graph: which values live where, constants folded, one arena planned from lifetimes.
 * @param outputs What a run returns, by name.
 */
export function plan(graph: Graph, outputs: ReadonlyMap<string, Value>): Plan {
  // A run writes its outputs itself: one that is an input, a weight or folded, or comes under two names, is copied.
  const returned = new Map<string, Value>();
  const taken = new Set<Value>();
  const folds = foldable(reachable(graph, outputs.values()));
  for (const [name, value] of outputs) {
    const owner = root(value);
    const own = owner.value.source.kind === 'node' && !folds.has(owner.value) && owner.offset === 0;
    const whole = bytesOf(owner.value) === bytesOf(value);
    const result = own && whole && !taken.has(owner.value) ? value : copy(graph, value);
    taken.add(root(result).value);
    returned.set(name, result);
  }
  const nodes = reachable(graph, returned.values());
  const folded = new Set([...foldable(nodes)].filter((value) => !taken.has(value)));
  return new Planner(graph, nodes, folded, returned).plan();
}

/** Bytes: ops write as much at once. */
const PART_ALIGNMENT = 16;

class Planner {
  readonly #values: PlanValue[] = [];
  readonly #index = new Map<Value, number>();
  readonly #place = new Map<Value, { storage: number; slot: number; offset: number }>();
  readonly #constants: string[] = [];

  constructor(
    readonly graph: Graph,
    readonly nodes: readonly Node[],
    readonly folded: ReadonlySet<Value>,
    readonly outputs: ReadonlyMap<string, Value>,
  ) {}

  plan(): Plan {
    const used = this.#usedInputs();
    const inputs = used.map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
    const outputs = [...this.outputs.values()].map((value) => root(value).value);
    this.#placeInOrder(
      used.map(([, value]) => value),
      STORAGE.input,
    );
    this.#placeInOrder(outputs, STORAGE.output);
    this.#placeInOrder(this.folded, STORAGE.folded);
    for (const output of outputs) this.#placeParts(output);
    const arenaBytes = this.#placeArena();
    // Folded nodes first: compiling a later node may need their result.
    const ordered = [
      ...this.nodes.filter((n) => this.folded.has(n.result)),
      ...this.nodes.filter((n) => !this.folded.has(n.result)),
    ];
    const nodes = ordered.map((node) => ({
      op: node.op.name,
      layer: node.layer,
      operands: Object.entries(node.operands).map(([name, value]) => ({
        name,
        value: this.#valueIndex(value),
      })),
      attributes: Object.entries(node.attributes).map(([name, attribute]) => ({
        name,
        values: numbers(attribute),
      })),
      result: this.#valueIndex(node.result),
    }));
    const flops = this.nodes.reduce(
      (sum, node) => (this.folded.has(node.result) ? sum : sum + node.op.flops(node)),
      0,
    );
    return {
      values: this.#values,
      nodes,
      constants: this.#constants,
      inputs,
      outputs: [...this.outputs].map(([name, { shape, dtype }]) => ({ name, shape, dtype })),
      arenaBytes,
      flops,
    };
  }

  #usedInputs(): [string, Value][] {
    const read = new Set(
      this.nodes.flatMap(({ operands }) => Object.values(operands).map((operand) => root(operand).value)),
    );
    return [...this.graph.inputs].filter(([, value]) => read.has(value));
  }

  #placeInOrder(values: Iterable<Value>, storage: number): void {
    let slot = 0;
    for (const value of values) this.#place.set(value, { storage, slot: slot++, offset: 0 });
  }

  /** What an output is joined from is computed where it will lie. */
  #placeParts({ source }: Value): void {
    if (source.kind !== 'node') return;
    const { node } = source;
    const whole = this.#place.get(node.result)!;
    for (const { operand, offset } of node.op.parts?.(node) ?? []) {
      const { value } = root(operand);
      const own = value.source.kind === 'node' && bytesOf(value) === bytesOf(operand);
      const at = whole.offset + byteCount([offset], operand.dtype);
      if (own && at % PART_ALIGNMENT === 0 && !this.#place.has(value))
        this.#place.set(value, { ...whole, offset: at });
    }
  }

  #placeArena(): number {
    const lastUse = lastUses(this.nodes);
    const spans = new Map<Value, Span>();
    this.nodes.forEach((node, at) => {
      if (this.#place.has(node.result)) return;
      const end = lastUse.get(node.result) ?? at;
      const reused = takenOver(node, at, lastUse, (value) => spans.has(value));
      const span = reused ? spans.get(reused)! : { begin: at, end, bytes: bytesOf(node.result), offset: 0 };
      span.end = Math.max(span.end, end);
      spans.set(node.result, span);
    });
    const bytes = layOut([...new Set(spans.values())]);
    for (const [value, { offset }] of spans)
      this.#place.set(value, { storage: STORAGE.arena, slot: 0, offset });
    return bytes;
  }

  #valueIndex(value: Value): number {
    let index = this.#index.get(value);
    if (index !== undefined) return index;
    const owner = root(value);
    const place = this.#place.get(owner.value) ?? this.#placeConstant(owner.value);
    index = this.#values.length;
    this.#index.set(value, index);
    const dtype = DTYPES.indexOf(value.dtype as DType);
    this.#values.push({ ...place, dtype, shape: value.shape, offset: place.offset + owner.offset });
    return index;
  }

  #placeConstant(value: Value): { storage: number; slot: number; offset: number } {
    if (value.source.kind !== 'constant')
      throw new HrsamError('ERR_INTERNAL', 'a value of the plan has no place');
    const place = { storage: STORAGE.constant, slot: this.#constants.length, offset: 0 };
    this.#constants.push(value.source.name);
    this.#place.set(value, place);
    return place;
  }
}
