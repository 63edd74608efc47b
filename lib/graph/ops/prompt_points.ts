import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { promptPointsGradient } from './prompt_points_gradient.js';

export const promptPointsOp: OpDefinition = {
  name: 'prompt_points',
  operands: ['points', 'labels', 'gaussian', 'embeddings', 'not_a_point'],
  attributes: { size: 'list' },
  infer({ operands, fail }) {
    const { points, labels, gaussian, embeddings, not_a_point: none } = operands as Record<string, Value>;
    const [batch, count, two] = points!.shape;
    const width = 2 * gaussian!.shape[1]!;
    if (points!.shape.length !== 3 || two !== 2 || labels!.shape.join() !== `${batch},${count}`)
      return fail('points (B, n, 2), labels (B, n)');
    if (embeddings!.shape.join() !== `4,${width}` || elementCount(none!.shape) !== width)
      return fail(`embeddings (4, ${width}), not_a_point (1, ${width})`);
    return { shape: [batch!, count!, width], dtype: 'f32' };
  },
  flops: ({ result }) => 20 * elementCount(result.shape),
  // The random Fourier matrix is fixed, and so are the points.
  gradient({ graph, node: { operands }, dy }) {
    const rows = promptPointsGradient(graph, operands.labels!, dy);
    return {
      embeddings: graph.rows(rows, 0, 4),
      not_a_point: graph.reshape(graph.rows(rows, 4, 5), operands.not_a_point!.shape),
    };
  },
};

/** Weights of the prompt encoder. */
export interface PointTables {
  /** Random Fourier matrix (2, E/2), rows x then y. */
  gaussian: Value;
  /** (4, E): background, foreground, first and second corner of a box. */
  embeddings: Value;
  /** (1, E): takes the code's place where the label is −1. */
  notAPoint: Value;
}

const checkTables = optionsOf<PointTables>({ gaussian: true, embeddings: true, notAPoint: true });

/** Sparse prompts: points (B, n, 2) in pixels of an input of `size` (h, w), labels (B, n) → (B, n, E). SAM, arXiv 2304.02643. */
export function promptPoints(
  graph: Graph,
  points: Value,
  labels: Value,
  tables: PointTables,
  size: readonly [number, number],
): Value {
  checkTables(tables, 'prompt_points');
  const { gaussian, embeddings, notAPoint } = tables;
  return graph.add(
    promptPointsOp,
    { points, labels, gaussian, embeddings, not_a_point: notAPoint },
    { size },
  );
}
