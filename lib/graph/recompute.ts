import type { Graph, Node, Value } from './graph.js';

/** Copies of a graph's nodes that compute a segment's values again, from what came before the segment. */
export class Recomputation {
  readonly #copies = new Map<Value, Value>();

  constructor(readonly graph: Graph) {}

  /** A node as its gradient should see it: what its segment computed for it, computed again. */
  node(node: Node): Node {
    const { id } = node.result;
    const segment = this.graph.segments.find(({ begin, end }) => id >= begin && id < end);
    if (!segment) return node;
    const operands = Object.fromEntries(
      Object.entries(node.operands).map(([name, value]) => [name, this.#copy(value, segment.begin)]),
    );
    return { ...node, operands };
  }

  #copy(value: Value, begin: number): Value {
    if (value.id < begin) return value;
    const known = this.#copies.get(value);
    if (known) return known;
    const made = this.#made(value, begin);
    this.#copies.set(value, made);
    return made;
  }

  #made(value: Value, begin: number): Value {
    const { source } = value;
    if (source.kind === 'view') {
      const of = this.#copy(source.of, begin);
      return of === source.of ? value : this.graph.view(of, value.shape, source.offset);
    }
    if (source.kind !== 'node') return value;
    const { op, operands, attributes, layer } = source.node;
    const copies = Object.fromEntries(
      Object.entries(operands).map(([name, operand]) => [name, this.#copy(operand, begin)]),
    );
    return this.graph.scope(`${layer}.again`, () => this.graph.add(op, copies, attributes, value.dtype));
  }
}
