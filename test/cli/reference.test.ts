import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { expectClose } from '../support/compare.js';
import { scratch } from '../support/files.js';
import { generate, HostTensors, readJson, type TensorRule } from '../support/reference.js';
import { hrsam, hrsamJson } from './support.js';

const path = scratch('hrsam-cli-');

/** Between them: generated and fed-back masks, a batch of images, many prompts on one image, odd sizes, several scales. */
const CASES = [
  'tiny-hrsam-128x128',
  'tiny-hrsam-b2-112x176',
  'tiny-hrsam-multiprompt-96x96',
  'tiny-hrsam-w16-400x272',
  'tiny-hrsampp-rect-b3-64x96',
];

/** Writes generated tensors as a safetensors file. */
const writeGenerated = async (file: string, rules: Record<string, TensorRule>): Promise<string> => {
  const tensors = Object.entries(rules).map(([name, rule]) => {
    const { shape, data } = generate(rule);
    return { name, dtype: 'F32' as const, shape, data };
  });
  await writeSafetensors(path(file), tensors);
  return path(file);
};

describe.each(CASES)('embed and decode reproduce %s', (name) => {
  const description = readJson(`models/${name}/case.json`);
  const config = readJson('manifest.json').configs[description.config_name];

  test('embedding, masks and IoUs', async () => {
    const rules = Object.fromEntries(config.tensors.map((rule: TensorRule) => [rule.name, rule]));
    const weights = await writeGenerated(`${name}-weights.safetensors`, rules);
    const image = await writeGenerated(`${name}-image.safetensors`, { image: description.input });
    writeFileSync(path('config.json'), JSON.stringify(description.config));
    writeFileSync(path('prompts.json'), JSON.stringify(description.prompts));
    const model = ['-w', weights, '--config', path('config.json'), '-d', 'cpu'];
    const [embedding, masks] = [path(`${name}-e.safetensors`), path(`${name}-m.safetensors`)];
    const embedded = await hrsamJson(['embed', image, ...model, '-o', embedding]);
    const { code, stderr } = await hrsam([
      'decode',
      embedding,
      ...model,
      '--prompts',
      path('prompts.json'),
      '-o',
      masks,
    ]);
    expect(stderr).toBe('');
    expect(code).toBe(0);

    const expected = await HostTensors.load(`models/${name}/expected.safetensors`);
    expect(embedded.embedding).toEqual(expected.get('embedding').shape);
    await using e = await SafetensorsFile.open(embedding);
    await using m = await SafetensorsFile.open(masks);
    const names = expected.names().filter((tensor) => !tensor.startsWith('trace/'));
    expect(names.length).toBe(1 + 2 * description.prompts.length);
    for (const tensor of names) {
      const file = tensor === 'embedding' ? e : m;
      expect(file.tensors.get(tensor)!.shape).toEqual(expected.get(tensor).shape);
      const actual = (await file.read(tensor)) as Float32Array;
      expectClose(actual, expected.get(tensor).data, description.fp32_vs_fp64[tensor], tensor);
    }
  });
});
