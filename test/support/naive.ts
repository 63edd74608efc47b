// Definitions, written for reading: double precision, one loop per index. Tests compare kernels with them where the
// reference has no case.

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** erf by its series, or by the continued fraction of erfc for large arguments. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 100; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

export const ACTIVATION = {
  none: (x: number) => x,
  gelu: (x: number) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  silu: (x: number) => x * sigmoid(x),
  relu: (x: number) => Math.max(x, 0),
  sigmoid,
} as const;

/** x (rows, K) · weight (N, K)ᵀ */
export function product(x: Float32Array, weight: Float32Array, inner: number): Float64Array {
  const rows = x.length / inner;
  const columns = weight.length / inner;
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += x[i * inner + k]! * weight[j * inner + k]!;
      out[i * columns + j] = sum;
    }
  }
  return out;
}

/** One token's head: channels `at` … `at + dim` of a row. */
export type Row = ArrayLike<number>;

/** softmax of the logits, times the values. */
export function attend(logits: readonly number[], values: readonly Row[], dim: number): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from(
    { length: dim },
    (_, c) => values.reduce((sum, value, i) => sum + weights[i]! * value[c]!, 0) / total,
  );
}

export const dot = (a: Row, b: Row): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/**
 * HRSAM's axial rotary embedding of one head: the first half of the channels turns with the row, the second with the
 * column; out[2k] = x[2k]·cos + x[2k+1]·sin, out[2k+1] = x[2k+1]·cos − x[2k]·sin.
 */
export function rotate(
  head: Row,
  row: number,
  column: number,
  { theta, scale }: { theta: number; scale: number },
): number[] {
  const half = head.length / 2;
  const out: number[] = [];
  for (let c = 0; c < head.length; c += 2) {
    const angle = (c < half ? row : column) * scale * theta ** (-(c % half) / half);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    out.push(head[c]! * cos + head[c + 1]! * sin, head[c + 1]! * cos - head[c]! * sin);
  }
  return out;
}

/** Bilinear sample of a map (h, w) at half-pixel centres, as torch's interpolate without align_corners. */
export function resized(map: Row, [h, w]: [number, number], [newH, newW]: [number, number]): Float64Array {
  const axis = (size: number, newSize: number) =>
    Array.from({ length: newSize }, (_, i) => {
      const at = Math.max(((i + 0.5) * size) / newSize - 0.5, 0);
      const low = Math.min(Math.floor(at), size - 1);
      return { low, high: Math.min(low + 1, size - 1), part: at - low };
    });
  const columns = axis(w, newW);
  const out = new Float64Array(newH * newW);
  axis(h, newH).forEach((y, i) => {
    columns.forEach((x, j) => {
      const mix = (row: number) => map[row * w + x.low]! * (1 - x.part) + map[row * w + x.high]! * x.part;
      out[i * newW + j] = mix(y.low) * (1 - y.part) + mix(y.high) * y.part;
    });
  });
  return out;
}
