// The paper's claim in miniature: a teacher with global attention, and students with windows, shifts, scan and scales, all
// trained at one small size by recipes/claim, judged at once, twice and four times that size.
//
//   npm run claim -- --data train --eval sets --out folder [--steps 700] [--device cpu] [--docs folder]
//
// --data and --eval take folders of data sets and may be given more than once. What is in --out already is not done again,
// so that a run that was stopped goes on. With --steps the distillations take so many steps, the other trainings in
// proportion, and the report goes to --out unless --docs says where; that of the whole recipe goes to docs/. On two
// cores with matrix tiles, other work beside it, the whole recipe took 38 minutes: 10 for the teacher, 20 for
// the students, 6 for judging four sets. On two with AVX2 it took 77.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { renderPlot } from './claim/plot.mjs';
import { readExperiment, scaled, stageRecipe } from './claim/recipes.mjs';
import { markdown, summarise } from './claim/report.mjs';
import { catchSignals, hrsam, once, readJson, Stopped, trained, writeJson } from './claim/steps.mjs';
import { root, setup } from './setup.mjs';

const cli = join(root, 'dist', 'cli.js');

function readOptions() {
  const { values } = parseArgs({
    options: {
      data: { type: 'string', multiple: true },
      eval: { type: 'string', multiple: true },
      out: { type: 'string' },
      steps: { type: 'string' },
      docs: { type: 'string' },
      device: { type: 'string', short: 'd', default: 'auto' },
    },
  });
  const { data, out, device } = values;
  if (!data || !values.eval || !out) throw new Error('--data, --eval and --out are needed');
  const steps = values.steps === undefined ? undefined : Number(values.steps);
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 1))
    throw new Error('--steps: a whole number from 1');
  const sets = values.eval.flatMap(setFolders);
  const names = sets.map(setName);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw new Error(`two sets are called ${twice}`);
  const docs = values.docs ?? (steps === undefined ? join(root, 'docs') : out);
  return { data, sets, out, steps, docs, device };
}

const setName = (folder) => basename(resolve(folder));

/** Folders with an index.json in this one, or this one in whatever layout it is. */
function setFolders(folder) {
  if (!existsSync(folder)) throw new Error(`${folder}: there is no such folder`);
  if (existsSync(join(folder, 'index.json'))) return [folder];
  const inside = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, 'index.json')))
    .map(({ name }) => join(folder, name));
  return inside.length > 0 ? inside.sort() : [folder];
}

/** What is in the folder must be of the same experiment. */
function expectSame(path, experiment) {
  if (!existsSync(path)) writeJson(path, experiment);
  else if (JSON.stringify(readJson(path)) !== JSON.stringify(experiment))
    throw new Error(
      `${path}: another experiment's, of other data, sets, steps or recipes; give another --out`,
    );
}

/** The models by the variants' names: the teacher, then each student. */
async function trainAll({ recipe, variants }, { data, out, device }) {
  const [teacher, ...students] = variants;
  const run = ['-d', device];
  const dataArgs = data.flatMap((folder) => ['--data', folder]);
  const train = (variant, stage, more, init) =>
    trained(
      cli,
      join(out, variant.name, stage),
      `${variant.name}: ${stage}`,
      stageRecipe(recipe, variant, stage),
      [...dataArgs, ...more, ...run],
      init,
    );
  const models = { [teacher.name]: await train(teacher, 'teach', []) };
  const stores = data.map((_, i) => join(out, 'embeddings', String(i)));
  await once(join(out, 'embeddings.json'), 'the teacher’s embeddings', async () => {
    const options = [
      '-w',
      models[teacher.name],
      '--size',
      String(recipe.size),
      '--dtype',
      recipe.common.dtype,
    ];
    const counts = [];
    for (const [i, folder] of data.entries())
      counts.push(
        JSON.parse(await hrsam(cli, ['embed', folder, '-o', stores[i], '--json', ...options, ...run])),
      );
    return counts.map(({ pictures, leftOut }) => ({ pictures, leftOut }));
  });
  for (const student of students) {
    const teaching = stores.flatMap((store) => ['--teacher', store]);
    const taught = await train(student, 'distill', teaching);
    models[student.name] = recipe.finetune.steps > 0 ? await train(student, 'finetune', [], taught) : taught;
  }
  return models;
}

async function judgeAll({ recipe }, models, { sets, out, device }) {
  const { clicks, objects, scales } = recipe.judge;
  const sizes = scales.map((scale) => scale * recipe.size);
  const run = ['--dtype', recipe.common.dtype, '-d', device];
  const found = {};
  for (const [name, model] of Object.entries(models)) {
    const judged = {};
    for (const set of sets)
      judged[setName(set)] = await once(
        join(out, name, 'judged', `${setName(set)}.json`),
        `${name}: judged on ${setName(set)}`,
        async () => {
          const how = ['--clicks', String(clicks), '--limit', String(objects), '--size', sizes.join(',')];
          return JSON.parse(await hrsam(cli, ['eval', model, '--data', set, ...how, '--json', ...run]));
        },
      );
    const { parameters } = JSON.parse(await hrsam(cli, ['info', model, '--json']));
    found[name] = { parameters: parameters.encoder, sets: judged };
  }
  const timed = await once(join(out, 'times.json'), 'times', async () => {
    const { measureTimes } = await import('./claim/times.mjs');
    const times = await measureTimes(models, sizes, { device, dtype: recipe.common.dtype });
    return { machine: `${cpus().length} threads of ${cpus()[0].model}`, device, times };
  });
  if (timed.device !== device)
    throw new Error(`${join(out, 'times.json')}: times of ${timed.device}; without it they are taken again`);
  for (const [name, each] of Object.entries(found)) each.times = timed.times[name];
  return { machine: timed.machine, found };
}

async function claim() {
  const options = readOptions();
  catchSignals();
  setup();
  const { recipe: whole, variants } = readExperiment(root);
  const recipe = scaled(whole, options.steps);
  const { data, sets, out, docs } = options;
  expectSame(join(out, 'experiment.json'), { recipe, variants, data: data.map((folder) => resolve(folder)) });
  // Of the same name in another folder: other pictures.
  for (const set of sets) expectSame(join(out, 'sets', `${setName(set)}.json`), { folder: resolve(set) });
  const models = await trainAll({ recipe, variants }, options);
  const { machine, found } = await judgeAll({ recipe }, models, options);
  const result = summarise({ recipe, variants, machine }, found);
  writeJson(join(docs, 'claim.json'), result);
  writeFileSync(join(docs, 'claim.md'), markdown(result));
  writeFileSync(join(docs, 'claim.png'), await renderPlot(result));
  console.log(`${join(docs, 'claim.md')}: ${variants.length} models on ${sets.length} sets`);
}

try {
  await claim();
} catch (error) {
  const stopped = error instanceof Stopped;
  console.error(stopped ? 'claim: stopped; the same command goes on' : `claim: ${error.message}`);
  process.exitCode = stopped ? 130 : 1;
}
