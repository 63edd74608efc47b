import { expect, it } from 'vitest';
import { focalLoss } from '../../lib/graph/ops/focal_loss.js';
import { expectClose } from '../support/compare.js';
import { reshaped } from '../support/layout.js';
import { differentiate } from './support/backward.js';
import { compareGradient, describeGradients, ones } from './support/reference.js';

describeGradients('losses', (cases, tensors) => {
  // Our sums are in double precision: all cases, `saturated` as well, are held to the floor instead of their noise.
  it.each(cases)('reference $name', async ({ name, params }) => {
    const get = (tensor: string) => tensors.get(`${name}/${tensor}`);
    const logits = get('logits');
    const { alpha, gamma, eps, ignore_index: ignore } = params;
    expect(params.stop_delimiter_grad).toBe(true);
    const { outputs, gradients } = await differentiate(
      { logits, labels: reshaped(get('labels'), logits.shape) },
      (graph, v) => ({ loss: focalLoss(graph, v.logits!, v.labels!, { alpha, gamma, eps, ignore }) }),
      { wrt: ['logits'], seeds: { loss: ones([logits.shape[0]!]) } },
    );
    expectClose(outputs.loss!.data, get('loss').data, {}, 'loss');
    compareGradient(gradients.logits, get('grad.logits'), { max_abs: 0 }, 'grad.logits');
  });
});
