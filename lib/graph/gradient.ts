import { HrsamError } from '../errors.js';
import { elementCount } from '../runtime/dtype.js';
import type { Graph, Value } from './graph.js';
import { add } from './ops/add.js';
import { cast } from './ops/cast.js';
import { pad } from './ops/pad.js';
import { Recomputation } from './recompute.js';

export interface GradientOptions {
  /**
   * Computes what the graph's segments (`graph.recomputable`) would have to keep for the backward pass again instead:
   * the same bytes, less memory, another forward pass (Chen et al., arXiv 1604.06174).
   */
  recompute?: boolean;
}

/**
 * Reverse-mode differentiation as a graph → graph transformation: adds to `graph` the nodes that compute the gradients of
 * Σ ⟨seed, value⟩ with respect to `wrt`.
 * @param seeds Values and the gradients they start from, of the same shape.
 * @returns One gradient per `wrt`, of its shape; undefined where nothing depends on it.
 * @throws HrsamError ERR_INTERNAL where the path leads through an op without a gradient
 */
export function gradients(
  graph: Graph,
  seeds: ReadonlyMap<Value, Value>,
  wrt: readonly Value[],
  { recompute = false }: GradientOptions = {},
): (Value | undefined)[] {
  const recomputation = recompute ? new Recomputation(graph) : undefined;
  const asked = dependents(graph, wrt);
  const sums = new Map<Value, Value>();
  const accumulate = (value: Value, gradient: Value) => {
    if (!asked.has(value)) return;
    if (gradient.shape.join() !== value.shape.join()) {
      throw new HrsamError('ERR_INTERNAL', 'gradient of another shape', {
        expected: value.shape,
        actual: gradient.shape,
      });
    }
    const typed = cast(graph, gradient, value.dtype);
    const sum = sums.get(value);
    sums.set(value, sum ? add(graph, sum, typed) : typed);
  };
  for (const [value, seed] of seeds) accumulate(value, seed);
  // Operands come before results, and views after what they show: descending ids see every value complete.
  for (let id = Math.max(-1, ...[...seeds.keys()].map((value) => value.id)); id >= 0; id--) {
    const value = graph.values[id]!;
    const dy = sums.get(value);
    if (!dy) continue;
    if (value.source.kind === 'view') accumulate(value.source.of, viewGradient(graph, value, dy));
    if (value.source.kind === 'node') {
      const { node } = value.source;
      const { op, operands, layer } = node;
      if (!op.gradient) throw new HrsamError('ERR_INTERNAL', `${op.name} has no gradient`, { where: layer });
      const wants = (name: string) => operands[name] !== undefined && asked.has(operands[name]);
      const seen = recomputation?.node(node) ?? node;
      const results = graph.scope(`${layer}.gradient`, () => op.gradient!({ graph, node: seen, dy, wants }));
      for (const [name, gradient] of Object.entries(results)) {
        if (gradient && operands[name]) accumulate(operands[name], gradient);
      }
    }
  }
  return wrt.map((value) => sums.get(value));
}

/** Everything that depends on one of `values`, themselves included. What has no elements neither depends nor is depended on. */
function dependents(graph: Graph, values: readonly Value[]): Set<Value> {
  const hasElements = ({ shape }: Value) => elementCount(shape) > 0;
  const found = new Set(values.filter(hasElements));
  for (const value of graph.values.filter(hasElements)) {
    const { source } = value;
    if (source.kind === 'view' && found.has(source.of)) found.add(value);
    if (source.kind === 'node' && Object.values(source.node.operands).some((operand) => found.has(operand))) {
      found.add(value);
    }
  }
  return found;
}

/** dy in the shape of what the view shows: zeros outside the part. */
function viewGradient(graph: Graph, view: Value, dy: Value): Value {
  if (view.source.kind !== 'view') return dy;
  const { of, offset } = view.source;
  const total = elementCount(of.shape);
  const size = elementCount(view.shape);
  if (size === total) return graph.reshape(dy, of.shape);
  return graph.reshape(pad(graph, graph.reshape(dy, [size]), 0, offset, total), of.shape);
}
