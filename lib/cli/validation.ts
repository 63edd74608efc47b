import { HrsamError } from '../errors.js';
import { openDataSet } from '../eval/data/open.js';
import { evaluateClicks } from '../eval/evaluate.js';
import { ModelMethod } from '../eval/method.js';
import { summarise } from '../eval/summary.js';
import { HRSAM } from '../predictor/hrsam.js';
import type { Device } from '../runtime/device.js';
import type { Validation } from '../train/run_folder.js';

const CLICKS = 5;

/** Judges models on the first objects of a data set, as `hrsam eval` does. @throws HrsamError ERR_FILE when there is none */
export async function openValidation(folder: string, limit: number, device: Device) {
  const data = await openDataSet(folder);
  return async (weights: string, signal?: AbortSignal): Promise<Validation> => {
    using model = await HRSAM.load(weights, { device });
    const evaluation = await evaluateClicks(new ModelMethod([model]), data, {
      clicks: CLICKS,
      limit,
      signal,
    });
    if (evaluation.objects.length === 0)
      throw new HrsamError('ERR_FILE', 'no object could be judged', {
        where: folder,
        actual: evaluation.failed[0]?.error,
      });
    const { iouAtClicks, miou } = summarise(evaluation, CLICKS);
    return { iou: iouAtClicks[1]!, miou };
  };
}
