// Packs sets of pictures with masks, as those the included model learned from: pictures no longer than --side as WebP, masks as PNG of one bit, the
// same index.json but for the names. What comes out is a folder to train from.
//
//   node scripts/pack-pictures.mjs <folder of sets> <out> [--side 432] [--quality 60]
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  strict: false,
  options: { side: { type: 'string', default: '432' }, quality: { type: 'string', default: '60' } },
});
const [from, to] = positionals;
const side = Number(values.side);
const quality = Number(values.quality);
if (positionals.length !== 2 || Object.keys(values).length > 2 || !(side > 0) || !(quality > 0)) {
  console.error('usage: node scripts/pack-pictures.mjs <folder of sets> <out> [--side 432] [--quality 60]');
  process.exit(1);
}

const renamed = (path, extension) => path.slice(0, -extname(path).length) + extension;
const inside = { width: side, height: side, fit: 'inside', withoutEnlargement: true };

async function packSet(set) {
  const entries = JSON.parse(await readFile(join(from, set, 'index.json'), 'utf8'));
  const sizes = new Map();
  const pack = async (path, extension, encode) => {
    const out = join(to, set, renamed(path, extension));
    await mkdir(dirname(out), { recursive: true });
    return encode(sharp(join(from, set, path))).toFile(out);
  };
  for (const image of new Set(entries.map((entry) => entry.image))) {
    sizes.set(image, await pack(image, '.webp', (picture) => picture.resize(inside).webp({ quality })));
  }
  const packed = [];
  for (const { image, mask } of entries) {
    const { width, height } = sizes.get(image);
    await pack(mask, '.png', (picture) =>
      picture
        .resize(width, height, { fit: 'fill', kernel: 'linear' })
        .greyscale()
        .threshold(128)
        .png({ palette: true, colours: 2, compressionLevel: 9 }),
    );
    packed.push({ image: renamed(image, '.webp'), mask: renamed(mask, '.png'), width, height });
  }
  await writeFile(join(to, set, 'index.json'), JSON.stringify(packed));
  const bytes = [...sizes.values()].reduce((sum, { size }) => sum + size, 0);
  console.log(`${set}: ${sizes.size} pictures, ${(bytes / 1e6).toFixed(1)} MB; ${packed.length} masks`);
}

for (const set of await readdir(from)) {
  if (await stat(join(from, set, 'index.json')).catch(() => undefined)) await packSet(set);
}
