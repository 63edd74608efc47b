import { totalFlops } from '../graph/cost.js';
import { Graph } from '../graph/graph.js';
import type { Device } from '../runtime/device.js';
import { elementCount } from '../runtime/dtype.js';
import type { Owned } from '../runtime/owned.js';
import type { Tensors } from '../runtime/program.js';
import type { ModelConfig } from '../weights/config.js';
import { fillTensor } from '../weights/random.js';
import { uniformGroups } from './groups.js';
import { initialValues } from './initial.js';
import { ParameterLayout } from './layout.js';
import { type ClickShape, clickLoss } from './losses.js';
import { ADAMW } from './optimizer.js';
import { FixedTensors, modelTensors } from './parameters.js';
import { initialState, Trainer } from './trainer.js';

/** A training step without data, to be timed: what the values are does not change how long it takes. */
export interface MadeUpStep {
  /** FLOPs of its forward passes. */
  readonly forwardFlops: number;
  /** Forward and backward of each sample's prompts, and the update. */
  run(): Promise<void>;
}

/** @param owned Gets what the step holds on the device. */
export async function syntheticStep(
  device: Device,
  config: ModelConfig,
  shape: ClickShape,
  dtype: 'f32' | 'bf16',
  owned: Owned,
): Promise<MadeUpStep> {
  const loss = clickLoss(config, shape, dtype);
  const { trained, fixed } = modelTensors(config);
  const layout = new ParameterLayout(trained);
  const values = initialValues(1);
  const options = {
    groups: uniformGroups(trained, 0),
    schedule: { peak: 1e-5, warmup: 0, steps: 1000 },
    adamw: { ...ADAMW, clip: 1 },
  };
  const state = initialState(layout, values);
  const trainer = owned.add(await Trainer.create(device, layout, options, state));
  const constants = owned.add(new FixedTensors(device, fixed, values));
  const program = owned.add(await trainer.replicas[0].program(loss, constants));
  const forward = new Graph();
  const size = elementCount(loss(forward).loss.shape);
  const inputs = examples(device, forward, shape.tokens, owned);
  return {
    forwardFlops: totalFlops(forward),
    async run() {
      await trainer.step([[{ program, inputs, size }]]);
    },
  };
}

/** Values for the graph's inputs; each prompt has as many tokens as there is room for. */
function examples(device: Device, graph: Graph, tokens: number, owned: Owned): Tensors {
  return Object.fromEntries(
    [...graph.inputs].map(([name, { shape, dtype }]) => {
      const size = elementCount(shape);
      const data =
        dtype === 'i32'
          ? new Int32Array(size).fill(tokens)
          : fillTensor(name, { offset: 0.5, scale: 0.5 }, new Float32Array(size));
      return [name, owned.add(device.tensor(shape, dtype, data))];
    }),
  );
}
