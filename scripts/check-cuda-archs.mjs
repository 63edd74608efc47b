// Checks that the CUDA backend holds machine code for every GPU that it promises, and PTX for those to come. Reads the
// library itself: the headers of the pieces in its section .nv_fatbin, each of which names its kind and architecture.
//
//   node scripts/check-cuda-archs.mjs <hrsam_cuda.so> 80 86 89 90 100 120
import { readFileSync } from 'node:fs';

const [path, ...wanted] = process.argv.slice(2);
const file = readFileSync(path);

/** Content of a section of a 64-bit little-endian ELF file. */
function section(name) {
  const table = Number(file.readBigUInt64LE(40));
  const [size, count, names] = [58, 60, 62].map((at) => file.readUInt16LE(at));
  const header = (i) => {
    const at = table + i * size;
    const [offset, length] = [24, 32].map((field) => Number(file.readBigUInt64LE(at + field)));
    return { name: file.readUInt32LE(at), content: file.subarray(offset, offset + length) };
  };
  const strings = header(names).content;
  for (let i = 0; i < count; i++) {
    const { name: at, content } = header(i);
    if (strings.toString('latin1', at, strings.indexOf(0, at)) === name) return content;
  }
  throw new Error(`${path}: no section ${name}`);
}

const MAGIC = 0xba55ed50;
const found = { ptx: new Set(), code: new Set() };
const fatbin = section('.nv_fatbin');
for (let at = 0; at + 16 <= fatbin.length; ) {
  if (fatbin.readUInt32LE(at) !== MAGIC) {
    at += 8;
    continue;
  }
  const end = at + fatbin.readUInt16LE(at + 6) + Number(fatbin.readBigUInt64LE(at + 8));
  at += fatbin.readUInt16LE(at + 6);
  while (at < end) {
    const [kind, architecture] = [fatbin.readUInt16LE(at), fatbin.readUInt32LE(at + 28)];
    if (kind === 1) found.ptx.add(`${architecture}`);
    if (kind === 2) found.code.add(`${architecture}`);
    at += fatbin.readUInt32LE(at + 4) + Number(fatbin.readBigUInt64LE(at + 8));
  }
}
const missing = wanted.filter((architecture) => !found.code.has(architecture));
console.log(`machine code: ${[...found.code].join(' ')}; PTX: ${[...found.ptx].join(' ')}`);
if (missing.length > 0 || !found.ptx.has(wanted[0])) {
  console.error(
    `${path}: missing ${missing.length > 0 ? `machine code for ${missing.join(', ')}` : `PTX of ${wanted[0]}`}`,
  );
  process.exit(1);
}
