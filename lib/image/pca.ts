import { HrsamError } from '../errors.js';
import type { Pixels } from './pixels.js';

/** Positions that the covariance is estimated from: enough for three components, and 60 ms for 256 channels. */
const MAX_SAMPLES = 2048;
const MAX_ITERATIONS = 200;

/**
 * An embedding (channels, height, width) as a picture: its first three principal components as red, green and blue,
 * each stretched from its 1st to its 99th percentile. The sign of a component is chosen so that its largest weight is
 * positive: the same embedding gives the same picture.
 * @throws HrsamError ERR_SHAPE when the sizes do not fit, ERR_ARGUMENT when a value is not finite.
 */
export function embeddingToRgb(
  embedding: Float32Array,
  channels: number,
  height: number,
  width: number,
): Pixels {
  if (!(embedding instanceof Float32Array))
    throw new HrsamError('ERR_ARGUMENT', 'embedding', {
      where: 'embeddingToRgb',
      expected: 'a Float32Array, such as the data of a tensor',
      actual: typeof embedding,
    });
  const positions = height * width;
  const whole = [channels, height, width].every((size) => Number.isInteger(size) && size > 0);
  if (!whole || embedding.length !== channels * positions) {
    throw new HrsamError('ERR_SHAPE', `not an embedding of ${channels} x ${height} x ${width}`, {
      expected: whole ? `${channels * positions} values` : 'whole numbers from 1',
      actual: embedding.length,
    });
  }
  const mean = channelMeans(embedding, channels, positions);
  const covariance = estimateCovariance(embedding, mean, positions);
  const data = new Uint8Array(positions * 3);
  for (let i = 0; i < 3; i++) {
    const component = i < channels ? takeLargestComponent(covariance, channels) : new Float64Array(channels);
    writeStretched(project(embedding, mean, component, positions), data, i);
  }
  return { data, width, height, channels: 3 };
}

function channelMeans(embedding: Float32Array, channels: number, positions: number): Float64Array {
  return Float64Array.from({ length: channels }, (_, c) => {
    let sum = 0;
    for (let i = c * positions; i < (c + 1) * positions; i++) sum += embedding[i]!;
    if (!Number.isFinite(sum)) {
      throw new HrsamError('ERR_ARGUMENT', 'the embedding has values that are not finite', {
        where: `channel ${c}`,
      });
    }
    return sum / positions;
  });
}

/** Channels × channels, from evenly spaced positions. */
function estimateCovariance(embedding: Float32Array, mean: Float64Array, positions: number): Float64Array {
  const channels = mean.length;
  const count = Math.min(positions, MAX_SAMPLES);
  const samples = Array.from(mean, (channelMean, c) =>
    Float32Array.from({ length: count }, (_, i) => {
      return embedding[c * positions + Math.floor(((i + 0.5) * positions) / count)]! - channelMean;
    }),
  );
  const covariance = new Float64Array(channels * channels);
  for (let a = 0; a < channels; a++) {
    const left = samples[a]!;
    for (let b = a; b < channels; b++) {
      const right = samples[b]!;
      let sum = 0;
      for (let i = 0; i < count; i++) sum += left[i]! * right[i]!;
      covariance[a * channels + b] = covariance[b * channels + a] = sum / count;
    }
  }
  return covariance;
}

/** The eigenvector of the largest eigenvalue, by power iteration; its part is taken off the matrix. */
function takeLargestComponent(covariance: Float64Array, channels: number): Float64Array {
  // The column of the largest variance is not orthogonal to what is sought.
  let start = 0;
  for (let c = 1; c < channels; c++) {
    if (covariance[c * channels + c]! > covariance[start * channels + start]!) start = c;
  }
  let vector = normalised(covariance.slice(start * channels, (start + 1) * channels));
  let eigenvalue = 0;
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const next = new Float64Array(channels);
    for (let a = 0; a < channels; a++) {
      let sum = 0;
      for (let b = 0; b < channels; b++) sum += covariance[a * channels + b]! * vector[b]!;
      next[a] = sum;
    }
    const length = norm(next);
    const converged = Math.abs(length - eigenvalue) <= 1e-10 * length;
    eigenvalue = length;
    vector = normalised(next);
    if (converged) break;
  }
  for (let a = 0; a < channels; a++) {
    for (let b = 0; b < channels; b++) covariance[a * channels + b]! -= eigenvalue * vector[a]! * vector[b]!;
  }
  const largest = vector.reduce((best, weight) => (Math.abs(weight) > Math.abs(best) ? weight : best), 0);
  return largest < 0 ? vector.map((weight) => -weight) : vector;
}

const norm = (vector: Float64Array) => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

/** Zero stays zero: a constant embedding has no direction. */
function normalised(vector: Float64Array): Float64Array {
  const length = norm(vector);
  return length > 0 ? vector.map((value) => value / length) : vector;
}

function project(embedding: Float32Array, mean: Float64Array, component: Float64Array, positions: number) {
  const values = new Float32Array(positions);
  component.forEach((weight, c) => {
    if (weight === 0) return;
    const offset = c * positions;
    const channelMean = mean[c]!;
    for (let i = 0; i < positions; i++) values[i]! += weight * (embedding[offset + i]! - channelMean);
  });
  return values;
}

function writeStretched(values: Float32Array, rgb: Uint8Array, channel: number): void {
  const sorted = values.slice().sort();
  const low = sorted[Math.floor(0.01 * (sorted.length - 1))]!;
  const high = sorted[Math.ceil(0.99 * (sorted.length - 1))]!;
  const scale = high > low ? 255 / (high - low) : 0;
  values.forEach((value, i) => {
    // A component that does not vary is mid grey.
    const level = scale === 0 ? 128 : (value - low) * scale;
    rgb[3 * i + channel] = Math.max(0, Math.min(255, Math.round(level)));
  });
}
