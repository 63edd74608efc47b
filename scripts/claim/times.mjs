// How long the encoders take. The models take turns, so that whatever else the machine does meets all of them alike.
import { HRSAM } from '../../dist/index.js';

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

/** Median milliseconds of an encoding by model and size. @param models paths by name */
export async function measureTimes(models, sizes, { device, dtype, rounds = 9 }) {
  const loaded = [];
  for (const [name, path] of Object.entries(models))
    loaded.push([name, await HRSAM.load(path, { device, dtype })]);
  const times = Object.fromEntries(loaded.map(([name]) => [name, {}]));
  for (const size of sizes) {
    const picture = squarePicture(size);
    const taken = Object.fromEntries(loaded.map(([name]) => [name, []]));
    // The first round compiles.
    for (let round = -1; round < rounds; round++) {
      for (const [name, model] of loaded) {
        const begin = performance.now();
        const image = await model.encode(picture, { size });
        const ms = performance.now() - begin;
        image.dispose();
        if (round >= 0) taken[name].push(ms);
      }
    }
    for (const [name] of loaded) times[name][size] = median(taken[name]);
  }
  for (const [, model] of loaded) model.dispose();
  return times;
}

/** A gradient: what is in a picture does not change how long it takes. */
function squarePicture(size) {
  const data = new Uint8Array(3 * size * size);
  for (let i = 0; i < data.length; i++) data[i] = (i / (3 * size) + (i % (3 * size))) & 255;
  return { data, width: size, height: size, channels: 3 };
}
