// Documents of `hrsam bench --json` and of bench/rivals as tables.

/** Rows that explain others rather than stand for themselves. */
const LEFT_OUT = /two products|R = 1$|literal|training step/;
const ENCODER = ' encoder';
export const isEncoder = ({ what }) => what.endsWith(ENCODER);
/** What is measured of a model besides its encoder: a cell of the encoder's row. */
const BESIDE = [' click to mask', ' event loop, p99'];
const COMMON = ['size', 'batch', 'type'];
const RIVAL = ['PyTorch, fastest', 'times as fast'];
const MEASURED = ['median', 'p99', 'rate', 'of the ceiling'];
const MODELS = ['encoder', ...COMMON, ...MEASURED, 'click', 'event loop, p99', ...RIVAL];
const OPS = ['', ...COMMON, ...MEASURED, ...RIVAL];
const TEXTS = new Set(['encoder', 'size', 'type', 'PyTorch, fastest']);

export const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(value < 1 ? 2 : 3));
const ms = (value) => (value >= 10_000 ? `${digits(value / 1000)} s` : `${digits(value)} ms`);

function rate(row) {
  const { batch, median, gflops, gbps } = row;
  if (isEncoder(row)) return `${digits((1000 * batch) / median)} images/s`;
  if (gflops !== undefined)
    return gflops >= 1000 ? `${digits(gflops / 1000)} TFLOP/s` : `${digits(gflops)} GFLOP/s`;
  return gbps === undefined ? '' : `${digits(gbps)} GB/s`;
}

const same = (a, b) => ['what', 'device', 'dtype', 'size', 'batch'].every((key) => a[key] === b[key]);

/** The fastest of the rivals that did the same. */
export const fastestRival = (row, rivals) =>
  rivals.filter((rival) => same(rival, row)).sort((a, b) => a.median - b.median)[0];

function cells(row, rivals, name, beside) {
  const fastest = fastestRival(row, rivals);
  return [
    name,
    row.size,
    row.batch,
    row.dtype,
    ms(row.median),
    row.p99 === undefined ? '' : ms(row.p99),
    rate(row),
    row.share === undefined ? '' : `${(100 * row.share).toFixed(0)} %`,
    ...beside,
    fastest ? `${ms(fastest.median)} (${fastest.by})` : '',
    fastest ? `${digits(fastest.median / row.median)} ×` : '',
  ];
}

/** Columns in which nothing stands are left out. */
function table(titles, lines) {
  if (lines.length === 0) return undefined;
  const filled = titles.map((_, i) => lines.some((line) => line[i] !== ''));
  const [header, ...rows] = [titles, ...lines].map((line) => line.filter((_, i) => filled[i]));
  const rule = header.map((name, i) => (i === 0 || TEXTS.has(name) ? '---' : '--:'));
  return [header, rule, ...rows].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

function modelTable(rows, rivals, sizes) {
  const encoders = rows.filter((row) => isEncoder(row) && (!sizes || sizes.includes(row.size)));
  const lines = encoders.map((row) => {
    const model = row.what.slice(0, -ENCODER.length);
    const beside = BESIDE.map((end) => rows.find((each) => same(each, { ...row, what: model + end })));
    return cells(
      row,
      rivals,
      model,
      beside.map((found) => (found ? ms(found.median) : '')),
    );
  });
  return table(MODELS, lines);
}

function opTable(rows, rivals) {
  const ops = rows.filter(({ what }) => ![ENCODER, ...BESIDE].some((end) => what.endsWith(end)));
  return table(
    OPS,
    ops.map((row) => cells(row, rivals, row.what, [])),
  );
}

/** A GPU is used in bf16; on a CPU both types matter. */
export const shown = ({ what, device, dtype }) =>
  !LEFT_OUT.test(what) && (device === 'cpu' || dtype === 'bf16' || what.startsWith('call'));

const onCpu = ({ rows }) => rows[0]?.device === 'cpu';

function section(ours, rivals, sizes) {
  const { device, commit, date, node, threads, by } = ours;
  const facts = [
    `**${device.name}**: ${device.detail}`,
    onCpu(ours) && `${threads} threads`,
    `${by}, commit ${commit?.replace(/^([0-9a-f]{12})[0-9a-f]*/, '$1') ?? 'unknown'}`,
    `Node ${node.slice(1)}`,
    rivals?.by,
    date.slice(0, 10),
    ours.note,
  ];
  const rows = ours.rows.filter(shown);
  const others = rivals?.rows ?? [];
  const made = [modelTable(rows, others, sizes), sizes ? undefined : opTable(rows, others)];
  return [`${facts.filter(Boolean).join('; ')}.`, ...made].filter(Boolean).join('\n\n');
}

/** Whether two documents are of the same run on the same device, a processor's with as many threads. */
const comparable = (ours, others) =>
  ours.run !== undefined &&
  others.run === ours.run &&
  others.device.name === ours.device.name &&
  (!onCpu(ours) || others.threads === ours.threads);

/**
 * Our results in the order of their names, with the rivals' of the same run where there are any.
 * @param documents by file name: `name.json` is ours, `name.rivals.json` the rivals'
 */
export function runs(documents) {
  const names = Object.keys(documents).sort();
  return names
    .filter((name) => !name.endsWith('.rivals.json'))
    .map((name) => {
      const ours = documents[name];
      const others = documents[name.replace(/json$/, 'rivals.json')];
      return { ours, rivals: others && comparable(ours, others) ? others : undefined };
    });
}

/**
 * The tables of all results; empty where there is none.
 * @param sizes of pictures, as rows have them: these alone, and no table of ops
 */
export const tables = (documents, sizes) =>
  runs(documents)
    .map(({ ours, rivals }) => section(ours, rivals, sizes))
    .join('\n\n');

const BEGIN = '<!-- figures: npm run figures -->';
const END = '<!-- end of figures -->';

/** The text with what stands between its markers replaced. @throws where it has no markers */
export function withTables(text, made, name = 'README.md') {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${name}: expected ${BEGIN} and, after it, ${END}`);
  const between = made === '' ? '\n' : `\n\n${made}\n\n`;
  return `${text.slice(0, begin + BEGIN.length)}${between}${text.slice(end)}`;
}
