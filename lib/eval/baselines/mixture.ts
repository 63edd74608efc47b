/** Gaussians of a mixture, and samples that it is fitted to. */
const COMPONENTS = 5;
const MAX_SAMPLES = 3000;
const ROUNDS = 4;
/** Variance added to every channel (0 … 255): a flat colour has none of its own. */
const FLOOR = 12;

interface Gaussian {
  mean: [number, number, number];
  /** Upper triangle of the inverse covariance: rr, rg, rb, gg, gb, bb. */
  inverse: [number, number, number, number, number, number];
  /** log(weight / √det). */
  scale: number;
}

/** Colours as a mixture of Gaussians, fitted by hard assignment as in GrabCut (Rother et al., 2004). */
export class ColourMixture {
  readonly #gaussians: Gaussian[];

  /** @param colours r, g, b of each pixel @param pixels those to fit, at least one */
  constructor(colours: Float32Array, pixels: readonly number[]) {
    const count = Math.min(pixels.length, MAX_SAMPLES);
    const samples = Array.from({ length: count }, (_, i) => {
      const at = 3 * pixels[Math.floor((i * pixels.length) / count)]!;
      return [colours[at]!, colours[at + 1]!, colours[at + 2]!] as [number, number, number];
    });
    let groups = spread(samples);
    let gaussians = groups.map((group) => fitted(group, samples.length));
    for (let round = 0; round < ROUNDS; round++) {
      groups = gaussians.map(() => []);
      for (const sample of samples) groups[nearest(gaussians, sample)]!.push(sample);
      groups = groups.filter((group) => group.length > 0);
      gaussians = groups.map((group) => fitted(group, samples.length));
    }
    this.#gaussians = gaussians;
  }

  /** −log of a colour's density, up to the same constant for all. */
  cost(r: number, g: number, b: number): number {
    let best = Number.NEGATIVE_INFINITY;
    let sum = 0;
    for (const gaussian of this.#gaussians) {
      const value = logDensity(gaussian, r, g, b);
      if (value > best) {
        sum = sum * Math.exp(best - value) + 1;
        best = value;
      } else sum += Math.exp(value - best);
    }
    return -(best + Math.log(sum));
  }
}

type Colour = [number, number, number];

/** First groups: around samples that are far from one another. */
function spread(samples: readonly Colour[]): Colour[][] {
  const centres: Colour[] = [samples[Math.floor(samples.length / 2)]!];
  const distance = (a: Colour, b: Colour) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  const gaps = samples.map((sample) => distance(sample, centres[0]!));
  while (centres.length < COMPONENTS) {
    const far = gaps.reduce((best, gap, i) => (gap > gaps[best]! ? i : best), 0);
    if (gaps[far] === 0) break;
    const centre = samples[far]!;
    centres.push(centre);
    samples.forEach((sample, i) => {
      gaps[i] = Math.min(gaps[i]!, distance(sample, centre));
    });
  }
  const groups: Colour[][] = centres.map(() => []);
  for (const sample of samples) {
    const order = centres.map((centre) => distance(sample, centre));
    groups[order.indexOf(Math.min(...order))]!.push(sample);
  }
  return groups;
}

function fitted(group: readonly Colour[], total: number): Gaussian {
  const count = group.length;
  const mean: Colour = [0, 0, 0];
  for (const colour of group) for (let c = 0; c < 3; c++) mean[c]! += colour[c]! / count;
  let [rr, rg, rb, gg, gb, bb] = [FLOOR, 0, 0, FLOOR, 0, FLOOR];
  for (const colour of group) {
    const [r, g, b] = [colour[0] - mean[0], colour[1] - mean[1], colour[2] - mean[2]];
    rr += (r * r) / count;
    rg += (r * g) / count;
    rb += (r * b) / count;
    gg += (g * g) / count;
    gb += (g * b) / count;
    bb += (b * b) / count;
  }
  const [a, b, c] = [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg];
  const determinant = rr * a + rg * b + rb * c;
  return {
    mean,
    inverse: [
      a / determinant,
      b / determinant,
      c / determinant,
      (rr * bb - rb * rb) / determinant,
      (rg * rb - rr * gb) / determinant,
      (rr * gg - rg * rg) / determinant,
    ],
    scale: Math.log(count / total) - Math.log(determinant) / 2,
  };
}

function logDensity({ mean, inverse, scale }: Gaussian, red: number, green: number, blue: number): number {
  const [r, g, b] = [red - mean[0], green - mean[1], blue - mean[2]];
  const [rr, rg, rb, gg, gb, bb] = inverse;
  return scale - (rr * r * r + gg * g * g + bb * b * b) / 2 - rg * r * g - rb * r * b - gb * g * b;
}

function nearest(gaussians: readonly Gaussian[], [r, g, b]: Colour): number {
  const densities = gaussians.map((gaussian) => logDensity(gaussian, r, g, b));
  return densities.indexOf(Math.max(...densities));
}
