import type { Rng } from '../../rng.js';
import { generateScene } from '../scenes/generate.js';
import { type LabelledObject, type SampleSource, someOf } from './source.js';

export interface SceneSourceOptions {
  /** Longest sides of the scenes, smallest and largest, in pixels. */
  sides: readonly [number, number];
  /** Objects in each; default: as the scene's seed has it. */
  objects?: number;
  /** Smallest visible part that is asked for, as a share of the scene. Default 0.002. */
  minArea?: number;
}

/** One object of a fresh scene each time. */
export class SceneSource implements SampleSource {
  readonly name = 'scenes';
  readonly unusable = 'scenes without a large enough object';

  constructor(readonly options: SceneSourceOptions) {}

  async draw(draws: Rng, others = 0): Promise<LabelledObject | undefined> {
    const { sides, objects, minArea = 0.002 } = this.options;
    const seed = draws.bits();
    const long = Math.round(draws.uniform(...sides));
    const short = Math.max(16, Math.round(long * draws.uniform(0.65, 1)));
    const [width, height] = draws.chance(0.6) ? [long, short] : [short, long];
    const pick = draws.uniform();
    const { pixels, masks, boxes, areas } = await generateScene({ seed, width, height, objects });
    const usable = masks
      .map((mask, i) => ({ mask, box: boxes[i]!, area: areas[i]! }))
      .filter(({ area }) => area >= minArea * width * height);
    const chosen = usable[Math.floor(pick * usable.length)];
    if (!chosen) return undefined;
    const rest = usable.filter((object) => object !== chosen).map(({ mask }) => mask);
    return { pixels, ...chosen, others: others > 0 ? someOf(draws, rest, others) : [] };
  }
}
