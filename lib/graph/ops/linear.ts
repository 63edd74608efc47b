import { optionsOf } from '../../options.js';
import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { type Activation, activation as activate, activationFlops, activationNumber } from './activation.js';
import { add } from './add.js';
import { cast } from './cast.js';
import { linearWeightGradient } from './linear_weight_gradient.js';
import { sumRows, sumToShape } from './sum_rows.js';

export const linearOp: OpDefinition = {
  name: 'linear',
  operands: ['x', 'weight', 'bias?', 'residual?'],
  attributes: { activation: 'number', transposed: 'flag' },
  inPlace: 'residual',
  infer({ operands, attributes, dtype, fail }) {
    const { x, weight, bias, residual } = operands as Record<string, Value>;
    const inner = x!.shape.at(-1);
    const { transposed } = attributes;
    const [outer, columns] = transposed ? [...weight!.shape].reverse() : weight!.shape;
    if (weight!.shape.length !== 2 || inner === undefined || columns !== inner) {
      return fail(transposed ? `weight (${inner}, N)` : `weight (N, ${inner})`);
    }
    if (inner < 1) fail('x (…, K) with K from 1');
    if (bias && (bias.shape.length !== 1 || bias.shape[0] !== outer)) fail(`bias (${outer})`);
    const shape = [...x!.shape.slice(0, -1), outer!];
    if (residual) {
      const rows = elementCount(shape.slice(0, -1));
      const residualRows = elementCount(residual.shape.slice(0, -1));
      const whole = residualRows === 0 ? rows === 0 : rows % residualRows === 0;
      if (residual.shape.at(-1) !== outer || !whole)
        fail(`residual (…, ${outer}) with rows dividing ${rows}`);
    }
    return { shape, dtype: dtype ?? residual?.dtype ?? x!.dtype };
  },
  flops({ operands, attributes, result }) {
    const elements = elementCount(result.shape);
    return (
      2 * elements * operands.x!.shape.at(-1)! + activationFlops(attributes.activation as number, elements)
    );
  },
  gradient({ graph, node, dy, wants }) {
    const { x, weight, residual } = node.operands as Record<string, Value>;
    const g = cast(graph, dy, x!.dtype);
    const transposed = node.attributes.transposed as boolean;
    const [rows, columns] = transposed ? [x!, g] : [g, x!];
    return {
      x: wants('x') ? linear(graph, g, weight!, { transposed: !transposed }) : undefined,
      weight: wants('weight') ? linearWeightGradient(graph, columns, rows) : undefined,
      bias: wants('bias') ? sumRows(graph, graph.reshape(dy, [-1, dy.shape.at(-1)!])) : undefined,
      residual: wants('residual') ? sumToShape(graph, dy, residual!.shape) : undefined,
    };
  },
};

/** Options of `linear`. */
export interface LinearOptions {
  /** (N). */
  bias?: Value;
  /** Applied to x·Wᵀ + bias, before the residual. Default `none`. */
  activation?: Activation;
  /** Added after the activation; its rows repeat over the leading batch. */
  residual?: Value;
  /** The weight is (K, N). Default false. */
  transposed?: boolean;
  /** Type of the result; default: the residual's, else x's. */
  dtype?: DType;
  /** What computes it, with the same operands; default: `linear`. */
  op?: OpDefinition;
}

const checkOptions = optionsOf<LinearOptions>({
  bias: true,
  activation: true,
  residual: true,
  transposed: true,
  dtype: true,
  op: true,
});

/** x (…, K) · weight (N, K)ᵀ → (…, N): residual + act(x·Wᵀ + bias). Computed in x's type, accumulated in f32. */
export function linear(graph: Graph, x: Value, weight: Value, options: LinearOptions = {}): Value {
  checkOptions(options, 'linear');
  const { bias, residual, activation = 'none', transposed = false, dtype, op = linearOp } = options;
  if (graph.differentiable && activation !== 'none') {
    const type = dtype ?? residual?.dtype;
    const activated = activate(
      graph,
      linear(graph, x, weight, { bias, transposed, dtype: type }),
      activation,
    );
    return residual ? addRows(graph, activated, residual) : activated;
  }
  const attributes = { activation: activationNumber(activation, 'linear'), transposed };
  return graph.add(op, { x, weight, bias, residual }, attributes, dtype);
}

/** x (…, N) plus rows (…, N) that repeat over it, however both are divided into axes. */
function addRows(graph: Graph, x: Value, rows: Value): Value {
  const count = elementCount(rows.shape.slice(0, -1));
  const width = rows.shape.at(-1) ?? 0;
  if (x.shape.join() === rows.shape.join() || elementCount(rows.shape) === 0) return add(graph, x, rows);
  const repeated = graph.reshape(x, [elementCount(x.shape) / (count * width), count, width]);
  return graph.reshape(add(graph, repeated, graph.reshape(rows, [count, width])), x.shape);
}
