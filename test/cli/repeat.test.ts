import { expect, test, vi } from 'vitest';
import { timeOps } from '../../lib/cli/bench/repeat.js';
import type { Value } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { Device } from '../../lib/runtime/device.js';

const subject = { what: 'activation', dtype: 'f32', size: 'some', batch: 1 } as const;
const MIB = 1 << 20;

test('inputs take turns when they are to, and the row is about one copy', async () => {
  // Every run takes 90 ms.
  let now = 0;
  using _ = vi.spyOn(performance, 'now').mockImplementation(() => (now += 90));
  const device = Device.open('cpu');
  const inputs = new Set<Value>();
  let copies = 0;
  const time = (rotate: boolean) => {
    inputs.clear();
    copies = 0;
    return timeOps(device, { ...subject, rotate }, { x: [4 * MIB] }, {}, (graph, { x }) => {
      inputs.add(x!);
      copies++;
      return { y: activation(graph, x!, 'relu') };
    });
  };
  expect((await time(false)).median).toBe(90);
  expect([inputs.size, copies]).toEqual([1, 1]);
  const turning = await time(true);
  // 16 MiB each, together more than 128.
  expect([inputs.size, copies]).toEqual([9, 9]);
  expect(turning.median).toBe(10);
  expect(turning.gbps).toBeUndefined();
});

test('bytes become a rate and a share of the bandwidth given', async () => {
  const bytes = 8 * MIB;
  const row = await timeOps(
    Device.open('cpu'),
    { ...subject, traffic: { bytes, bandwidth: 50 } },
    { x: [MIB] },
    {},
    (graph, { x }) => ({ y: activation(graph, x!, 'relu') }),
  );
  expect(row.gbps).toBeCloseTo(bytes / row.median / 1e6, 9);
  expect(row.share).toBeCloseTo(row.gbps! / 50, 9);
  expect(row.bandwidth).toBe(50);
});
