import { byteCount } from '../runtime/dtype.js';
import type { Graph, Node } from './graph.js';

export interface LayerCost {
  layer: string;
  /** Floating-point operations, a multiply-add counting as two. */
  flops: number;
  /** Bytes read and written if every operand and result passes memory once. */
  bytes: number;
}

const bytesMoved = ({ operands, result }: Node): number =>
  [...Object.values(operands), result].reduce((sum, value) => sum + byteCount(value.shape, value.dtype), 0);

/** FLOPs and bytes by layer, in order of execution; `depth` is how many parts of a layer's name count. */
export function costs(graph: Graph, depth = Number.POSITIVE_INFINITY): LayerCost[] {
  const byLayer = new Map<string, LayerCost>();
  for (const node of graph.nodes) {
    const layer = node.layer.split('.').slice(0, depth).join('.');
    const cost = byLayer.get(layer) ?? { layer, flops: 0, bytes: 0 };
    cost.flops += node.op.flops(node);
    cost.bytes += bytesMoved(node);
    byLayer.set(layer, cost);
  }
  return [...byLayer.values()];
}

export const totalFlops = (graph: Graph): number =>
  graph.nodes.reduce((sum, node) => sum + node.op.flops(node), 0);
