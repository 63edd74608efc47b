import { it } from 'vitest';
import { encoder, maskLogits } from '../../lib/model/model.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { hrsamModel, promptTensors, samModel } from '../support/models.js';
import { generate, readJson } from '../support/reference.js';
import { type HostValues, runModel } from '../support/run.js';

/** Results of an HRSAM++ and of a SAM encoder that between them use every op of the models. */
async function results(): Promise<HostValues> {
  const hrsam = hrsamModel('tiny-hrsampp');
  const sam = samModel(readJson('sam/encoder/tiny-256-w7-padded/case.json'));
  const image = generate({ name: 'image', shape: [1, 3, 144, 208], scale: 2 });
  const square = generate({ name: 'square', shape: [1, 3, 256, 256], scale: 2 });
  const mask = generate({ name: 'mask', shape: [1, 36, 52], scale: 6 });
  const prompt = promptTensors(
    {
      name: 'p',
      points: [
        [
          [30, 40],
          [100, 90],
        ],
      ],
      labels: [[1, 0]],
    },
    5,
    mask,
  );
  const found: HostValues = {};
  for (const compute of ['f32', 'bf16'] as const) {
    const outputs = await runModel(
      { image, ...prompt } as unknown as HostValues,
      hrsam.weights,
      (graph, v) => {
        const embedding = encoder(graph, v.image!, hrsam.config, compute);
        const inputs = { embedding, points: v.points!, labels: v.labels!, mask: v.mask! };
        const { masks, ious } = maskLogits(graph, inputs, hrsam.config);
        return { embedding, masks, ious };
      },
    );
    for (const [name, value] of Object.entries(outputs)) found[`${compute} HRSAM++ ${name}`] = value;
    const { embedding } = await runModel({ square }, sam.weights, (graph, v) => ({
      embedding: encoder(graph, v.square!, sam.config, compute),
    }));
    found[`${compute} SAM embedding`] = embedding!;
  }
  return found;
}

it('writes its results', async () => {
  const tensors = Object.entries(await results()).map(([name, { shape, data }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    data,
  }));
  await writeSafetensors(process.env.HRSAM_RESULTS!, tensors);
});
