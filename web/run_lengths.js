// Masks as the server sends them; lib/image/rle.ts is the same for Node.

/** COCO's compressed run lengths: zeros first, in columns. */
function runLengths(text) {
  const counts = [];
  for (let i = 0; i < text.length; ) {
    let [count, shift, digit] = [0, 0, 0];
    do {
      digit = text.charCodeAt(i++) - 48;
      count |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    if (digit & 16) count |= -1 << shift;
    counts.push(counts.length > 2 ? count + counts.at(-2) : count);
  }
  return counts;
}

/** White where the mask is. */
export function pixelsOf({ size: [height, width], counts }) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer).fill(0xff000000);
  let at = 0;
  for (const [i, count] of runLengths(counts).entries()) {
    let [x, y] = [Math.floor(at / height), at % height];
    at += count;
    for (let left = i % 2 === 0 ? 0 : count; left > 0; left--) {
      pixels[y * width + x] = 0xffffffff;
      if (++y < height) continue;
      [x, y] = [x + 1, 0];
    }
  }
  return image;
}
