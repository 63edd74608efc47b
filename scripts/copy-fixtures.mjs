// Copies the reference values that tests need in a clone with nothing beside it: numbers only, nothing that was computed
// from a photograph, and of large cases only some tensors. Same input, same bytes.
//
//   node scripts/copy-fixtures.mjs [source] [target]
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = resolve(process.argv[2] ?? join(root, '../shared/reference'));
const target = resolve(process.argv[3] ?? join(root, 'test/fixtures/reference'));
const LIMIT_BYTES = 20_000_000;

if (!existsSync(join(source, 'manifest.json'))) {
  console.error(`${source}: no reference values there`);
  process.exit(1);
}

const everything = () => true;
const list = (folder) => readdirSync(join(source, folder)).sort();
const readJson = (path) => JSON.parse(readFileSync(join(source, path), 'utf8'));
let total = 0;

function write(path, bytes) {
  const to = join(target, path);
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, bytes);
  total += bytes.length;
}

const copy = (path) => write(path, readFileSync(join(source, path)));
const writeJson = (path, value) => write(path, Buffer.from(`${JSON.stringify(value, null, 1)}\n`));

/** Copies a safetensors file with only the tensors that `keep` names. */
function copyTensors(path, keep) {
  const bytes = readFileSync(join(source, path));
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString());
  const kept = {};
  const parts = [];
  let at = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__' || !keep(name)) continue;
    const [start, end] = tensor.data_offsets;
    kept[name] = { ...tensor, data_offsets: [at, at + end - start] };
    parts.push(bytes.subarray(8 + headerBytes + start, 8 + headerBytes + end));
    at += end - start;
  }
  const json = Buffer.from(JSON.stringify(kept));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  write(path, Buffer.concat([length, padded, ...parts]));
}

/** A case's folder: its description and, of its tensors, those that `keep` names. */
function copyCase(folder, keep = everything, edit = (description) => description) {
  writeJson(`${folder}/case.json`, edit(readJson(`${folder}/case.json`)));
  if (existsSync(join(source, folder, 'expected.safetensors')))
    copyTensors(`${folder}/expected.safetensors`, keep);
}

rmSync(target, { recursive: true, force: true });

for (const file of list('ops')) copy(`ops/${file}`);

// The largest trace is that of tiny-hrsampp-144x208; the 128 × 128 cases have the same tensors.
const SMALL_MODELS = list('models').filter((name) => name !== 'base' && !name.includes('photo'));
for (const name of SMALL_MODELS) {
  const keep = name === 'tiny-hrsampp-144x208' ? (tensor) => !tensor.startsWith('trace/') : everything;
  copyCase(`models/${name}`, keep);
}
const { configs, ...manifest } = readJson('manifest.json');
writeJson('manifest.json', {
  ...manifest,
  configs: Object.fromEntries(Object.entries(configs).filter(([name]) => /^(tiny|grad)-/.test(name))),
});
copy('sam/manifest.json');

for (const file of ['clicks.json', 'masks.safetensors', 'resize.safetensors']) copy(`clicks/${file}`);

// Gradients but those of whole models; of the decoder the larger batch.
const { distillation, segmentation, ...gradients } = readJson('grads/grads.json');
gradients.mask_decoder.cases = gradients.mask_decoder.cases.filter(({ name }) => name === 'b2');
writeJson('grads/grads.json', gradients);
for (const [name, { cases }] of Object.entries(gradients))
  copyTensors(`grads/${name}.safetensors`, (tensor) =>
    cases.some((each) => tensor.startsWith(`${each.name}/`)),
  );
copy('grads/optimizer.json');
for (const name of list('sam/gradient')) copyCase(`sam/gradient/${name}`);

const ENCODER_TRACE = /^(embedding|tokens_with_pos|blocks\.\d+\.out)$/;
for (const name of list('sam/encoder')) {
  if (name.startsWith('tiny-')) copyCase(`sam/encoder/${name}`, (tensor) => ENCODER_TRACE.test(tensor));
}
copyCase('sam/decoder/non-square-12x20');
copyCase('sam/decoder/official-dims-64x64', (tensor) => !tensor.endsWith('.f16'));
for (const name of ['ops', 'onnx_wrapper', 'postprocess', 'amg_ops']) copyCase(`sam/${name}`);

const PHOTO = /(^|\.)photo(\.|$)/;
copyCase(
  'sam/transforms',
  (tensor) => !PHOTO.test(tensor),
  ({ images: { photo, ...images }, expected, ...description }) => {
    const synthetic = (entries) => entries.filter(({ image }) => image !== 'photo');
    const tensors = Object.fromEntries(
      Object.entries(expected.tensors).filter(([name]) => !PHOTO.test(name)),
    );
    return {
      ...description,
      images,
      apply_image: synthetic(description.apply_image),
      preprocess: synthetic(description.preprocess),
      expected: { ...expected, tensors },
    };
  },
);
for (const file of list('sam/transforms')) if (/^noise.*\.png$/.test(file)) copy(`sam/transforms/${file}`);

console.log(`${target}: ${(total / 1e6).toFixed(1)} MB`);
if (total > LIMIT_BYTES) {
  console.error(`more than ${LIMIT_BYTES / 1e6} MB: leave something out`);
  process.exitCode = 1;
}
