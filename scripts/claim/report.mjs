// What the experiment found, as one object and as a table.

/**
 * @param settings `{ recipe, variants, machine }`
 * @param found by the variant's name: `{ parameters, times: { size: ms }, sets: { set: what hrsam eval --json printed } }`
 */
export function summarise({ recipe, variants, machine }, found) {
  const sizes = recipe.judge.scales.map((scale) => scale * recipe.size);
  return {
    machine,
    sizes,
    steps: { teach: recipe.teach.steps, distill: recipe.distill.steps, finetune: recipe.finetune.steps },
    clicks: recipe.judge.clicks,
    variants: variants.map(({ name, title }) => {
      const { parameters, times, sets } = found[name];
      const results = sizes.map((size, i) => ({
        size,
        ...overSets(Object.values(sets).map((figures) => runOf(figures, i))),
        ms: times[size],
        gflop: runOf(Object.values(sets)[0], i).flopsPerImage / 1e9,
      }));
      const bySet = Object.fromEntries(
        Object.entries(sets).map(([set, figures]) => [
          set,
          sizes.map((size, i) => ({ size, ...overSets([runOf(figures, i)]) })),
        ]),
      );
      return { name, title, parameters, results, sets: bySet };
    }),
  };
}

/** One size's figures of an evaluation; those of a single size stand alone. */
const runOf = (figures, i) => (figures.runs ?? [figures])[i];

/** Means over the objects of all sets. */
function overSets(runs) {
  const masks = runs.reduce((sum, run) => sum + run.masks, 0);
  const counts = Object.keys(runs[0].iouAtClicks);
  const mean = (count) =>
    runs.reduce((sum, run) => sum + (run.masks > 0 ? run.masks * run.iouAtClicks[count] : 0), 0) / masks;
  return { masks, iouAtClicks: Object.fromEntries(counts.map((count) => [count, mean(count)])) };
}

const row = (cells) => `| ${cells.join(' | ')} |`;

const table = (header, rows) =>
  [row(header), row(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(row)].join('\n');

const threeDigits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** Markdown: how it was done, the figures, the figures set by set. */
export function markdown({ machine, sizes, steps, clicks, variants }) {
  const [size] = sizes;
  const at = sizes.join(' / ');
  const each = (results, value) => results.map(value).join(' / ');
  const iou = (results, count) => each(results, ({ iouAtClicks }) => iouAtClicks[count].toFixed(3));
  const rows = variants.map(({ title, parameters, results }) => [
    title,
    `${(parameters / 1e6).toFixed(2)} M`,
    iou(results, 1),
    iou(results, clicks),
    each(results, ({ ms }) => threeDigits(ms)),
    `${(results.at(-1).ms / results[0].ms).toFixed(1)} ×`,
    each(results, ({ gflop }) => threeDigits(gflop)),
  ]);
  const header = [
    `at ${at} pixels`,
    'encoder',
    'IoU@1',
    `IoU@${clicks}`,
    'ms an image',
    `${sizes.at(-1)} / ${size}`,
    'GFLOP',
  ];
  const sets = Object.keys(variants[0].sets);
  const masks = (set) => variants[0].sets[set][0].masks;
  const perSet = variants.map(({ title, sets: own }) => [title, ...sets.map((set) => iou(own[set], clicks))]);
  const tuned = steps.finetune > 0 ? `, then ${steps.finetune} steps by clicks` : '';
  return `# Windows, scan and scales in miniature

A small model with global attention learns by clicks from nothing (${steps.teach} steps). Four students of the same width and
depth learn its embeddings (${steps.distill} steps each${tuned}), all at ${size} × ${size} pixels by one recipe
([recipes/claim](../recipes/claim)). They are judged on ${variants[0].results[0].masks} objects at ${at} pixels: IoU after 1 and ${clicks} simulated
clicks, over the objects of all sets. Milliseconds: the median of an encoding on ${machine},
the models taking turns. With ${(sizes.at(-1) / size) ** 2} times the pixels, ${(sizes.at(-1) / size) ** 2} times the time is linear.

![Accuracy and time over the size](claim.png)

${table(header, rows)}

IoU@${clicks} by set, at ${at} pixels:

${table(['', ...sets.map((set) => `${set} (${masks(set)})`)], perSet)}

\`npm run claim -- --data <train> --eval <sets> --out <folder>\` does it again.
`;
}
