import type { OpDefinition } from './graph.js';

type Infer = Pick<OpDefinition, 'operands' | 'infer'>;

/** A loss of each sample: two operands of one shape (B, …) → (B). */
export const sampleLoss = (prediction: string, target: string): Infer => ({
  operands: [prediction, target],
  infer({ operands, fail }) {
    const { shape } = operands[prediction]!;
    if (shape.length < 2 || operands[target]!.shape.join() !== shape.join())
      return fail(`${prediction} and ${target} (B, …)`);
    return { shape: [shape[0]!], dtype: 'f32' };
  },
});

/** Its gradient, of the prediction's shape: that of each sample's loss, dy (B), is given. */
export const sampleLossGradient = (prediction: string, target: string): Infer => ({
  operands: [prediction, target, 'dy'],
  infer({ operands, fail }) {
    const { shape } = operands[prediction]!;
    return operands.dy!.shape.join() === `${shape[0]}` ? { shape, dtype: 'f32' } : fail('dy (B)');
  },
});
