import { describe, expect, it } from 'vitest';
import type { HrsamError } from '../../lib/errors.js';
import { longestSide, officialLongestSide, scaleCoordinates } from '../../lib/image/resize.js';
import { onnxLongestSide } from '../support/onnx_size.js';
import { readJson } from '../support/reference.js';

const clicks = readJson('clicks/clicks.json');
const transforms = readJson('sam/transforms/case.json');
type Pair = [number, number];
const size = ([height, width]: Pair) => ({ height, width });

describe('the size rule', () => {
  it('gives the published sizes of HRSAM', () => {
    for (const { size: given, target, out } of clicks.resize_along_longest_side) {
      expect(officialLongestSide(given[0], given[1], target)).toEqual(size(out));
    }
  });

  it('gives the published sizes of SAM', () => {
    for (const [height, width, target, h, w] of transforms.shapes) {
      expect(officialLongestSide(height, width, target)).toEqual(size([h, w]));
    }
  });

  it('parts from exact arithmetic where float64 does', () => {
    for (const [height, width, target, official] of transforms.preprocess_shape_vs_exact.examples) {
      expect(officialLongestSide(height, width, target).height).toBe(official);
    }
  });

  it('in float32 is that of the ONNX wrapper', () => {
    for (const [height, width, target, official, onnx] of transforms.preprocess_shape_vs_onnx.examples) {
      expect(officialLongestSide(height, width, target).height).toBe(official);
      expect(onnxLongestSide(height, width, target)).toEqual({ height: onnx, width: target });
    }
  });

  it('never gives a side of 0', () => {
    expect(officialLongestSide(1, 3000, 1024)).toEqual({ height: 0, width: 1024 });
    expect(longestSide(1, 3000, 1024)).toEqual({ height: 1, width: 1024 });
    expect(longestSide(3000, 1, 1024)).toEqual({ height: 1024, width: 1 });
    expect(longestSide(480, 640, 1024)).toEqual({ height: 768, width: 1024 });
  });

  it.each([
    [0, 5, 8],
    [5, -1, 8],
    [5, 5, 0],
    [2.5, 5, 8],
    [5, Number.NaN, 8],
    [5, 5, Number.POSITIVE_INFINITY],
  ])('rejects %d x %d to %d', (height, width, target) => {
    for (const rule of [longestSide, officialLongestSide]) {
      expect(() => rule(height, width, target)).toThrow(
        expect.objectContaining({ name: 'HrsamError', code: 'ERR_ARGUMENT' }) as HrsamError,
      );
    }
  });
});

describe('coordinates', () => {
  it('go to the model as HRSAM has them', () => {
    for (const { size: given, target, points_xy, out } of clicks.resize_coord) {
      const to = officialLongestSide(given[0], given[1], target);
      expect([...scaleCoordinates(points_xy.flat(), size(given), to)]).toEqual(out.flat());
    }
  });

  it('and boxes go to the model as SAM has them', () => {
    const cases = [
      ...transforms.coords.map((each: { coords: Pair[] }) => ({ ...each, xy: each.coords.flat() })),
      ...transforms.boxes.map((each: { boxes: number[][] }) => ({ ...each, xy: each.boxes.flat() })),
    ];
    expect(cases.length).toBeGreaterThan(8);
    for (const { size_hw, target, xy, out } of cases) {
      const to = officialLongestSide(size_hw[0], size_hw[1], target);
      expect([...scaleCoordinates(xy, size(size_hw), to)]).toEqual(out.flat());
    }
  });

  it('come back', () => {
    const [from, to] = [
      { height: 333, width: 1000 },
      { height: 75, width: 224 },
    ];
    const xy = [0, 0, 12.5, 300.25, 999, 332];
    const back = scaleCoordinates(scaleCoordinates(xy, from, to), to, from);
    xy.forEach((value, i) => {
      expect(back[i]).toBeCloseTo(value, 10);
    });
  });
});
