import { HrsamError } from '../errors.js';
import type { Graph, Value } from '../graph/graph.js';
import { STATE_ROWS } from '../graph/ops/adamw.js';
import { add } from '../graph/ops/add.js';
import { concat } from '../graph/ops/concat.js';
import { elementCount } from '../runtime/dtype.js';
import type { Parameter } from './groups.js';

/**
 * Trained parameters laid end to end, so that one op updates them all. The state on the device is (4, P) f32:
 * parameters, first and second moments, moving average (`STATE_ROWS`).
 */
export class ParameterLayout {
  readonly offsets: readonly number[];
  /** P: all elements. */
  readonly size: number;

  constructor(readonly parameters: readonly Parameter[]) {
    let at = 0;
    this.offsets = parameters.map(({ shape }) => {
      const offset = at;
      at += elementCount(shape);
      return offset;
    });
    this.size = at;
  }

  /** (4, P) */
  get stateShape(): readonly [number, number] {
    return [STATE_ROWS.length, this.size];
  }

  /** (1, P): the state's parameters. */
  parametersOf(graph: Graph, state: Value): Value {
    const row = STATE_ROWS.indexOf('parameters');
    return graph.rows(state, row, row + 1);
  }

  /** P numbers: the state's moving average, in its own memory. */
  averageOf(state: Float32Array): Float32Array {
    const begin = STATE_ROWS.indexOf('average') * this.size;
    return state.subarray(begin, begin + this.size);
  }

  /** Lets the graph's constants of these names be parts of `state`; call it before the model is built. */
  bind(graph: Graph, state: Value): Value[] {
    const flat = graph.reshape(this.parametersOf(graph, state), [this.size]);
    return this.parameters.map(({ name, shape }, i) => {
      const offset = this.offsets[i]!;
      const value = graph.reshape(graph.rows(flat, offset, offset + elementCount(shape)), shape);
      if (graph.constants.has(name)) throw new HrsamError('ERR_INTERNAL', `'${name}' is in use already`);
      graph.constants.set(name, value);
      return value;
    });
  }

  /** accumulated (P) plus the gradients, parameter by parameter; one that is undefined adds nothing. */
  accumulate(graph: Graph, accumulated: Value, gradients: readonly (Value | undefined)[]): Value {
    const parts = this.parameters.map(({ shape }, i) => {
      const offset = this.offsets[i]!;
      const size = elementCount(shape);
      const before = graph.rows(accumulated, offset, offset + size);
      const gradient = gradients[i];
      return gradient ? add(graph, graph.reshape(gradient, [size]), before) : before;
    });
    return concat(graph, parts, 0);
  }
}
