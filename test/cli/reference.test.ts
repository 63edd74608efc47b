import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { fixture, generate, HostTensors, readJson, type TensorRule } from '../support/reference.js';
import { hrsam, hrsamJson, scratch } from './support.js';

const path = scratch();
const CASES = (process.env.HRSAM_TEST_CASES ?? 'tiny-hrsam-128x128,tiny-hrsam-b2-112x176,tiny-hrsam-multiprompt-96x96,tiny-hrsampp-rect-80x112').split(',');

/** Writes generated tensors as a safetensors file. */
const writeGenerated = async (file: string, rules: Record<string, TensorRule>): Promise<string> => {
  const tensors = Object.entries(rules).map(([name, rule]) => {
    const { shape, data } = generate(rule);
    return { name, dtype: 'F32' as const, shape, data };
  });
  await writeSafetensors(path(file), tensors);
  return path(file);
};

const relativeL2 = (actual: Float32Array, expected: Float32Array): number => {
  let difference = 0;
  let norm = 0;
  expected.forEach((value, i) => {
    difference += (actual[i]! - value) ** 2;
    norm += value ** 2;
  });
  return actual.length === expected.length ? Math.sqrt(difference / norm) : Number.NaN;
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
    const { code, stderr } = await hrsam(['decode', embedding, ...model, '--prompts', path('prompts.json'), '-o', masks]);
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
      const limit = Math.max(1e-5, 10 * description.fp32_vs_fp64[tensor].rel_l2);
      expect(relativeL2(actual, expected.get(tensor).data), tensor).toBeLessThan(limit);
    }
  });
});

test('the reference is there', () => {
  expect(fixture('manifest.json')).toBeDefined();
});
