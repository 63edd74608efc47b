// Clicks on a picture, answered by the server that this page came from.
import { pixelsOf } from './run_lengths.js';

const find = (id) => document.getElementById(id);
const [canvas, stage, status, save] = ['canvas', 'stage', 'status', 'save'].map(find);
const [undo, reset, everything, negative] = ['undo', 'reset', 'everything', 'negative'].map(find);
const [size, zoom, file, empty, progress] = ['size', 'zoom', 'file', 'empty', 'progress'].map(find);

/** Answers that say how far they are. */
const LINES = 'application/x-ndjson';

const COLORS = ['#0072ff', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#f0e442'];
/** A pointer that moves less than this, in pixels of the screen, clicks. */
const DRAG = 5;
/** Where arrow keys go, and how far at a time: shares of the picture's longest side. */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const [STEP, SMALL_STEP] = [0.02, 0.002];

/** The bitmap on show, the server's id of it, and what was asked: each step with its answer. */
let picture;
let steps = [];
/** The box that is being drawn, [x0, y0, x1, y1]. */
let frame;
/** Where the keyboard clicks, [x, y]. */
let cross;
/** What ends the request under way: there is one at a time. */
let waiting;
/** A request that takes longer than this, ms, can be seen to be stopped. */
const LONG = 1000;

function say(text, failed = false) {
  status.textContent = text;
  status.classList.toggle('failed', failed);
}

async function ask(path, options) {
  const response = await fetch(path, { ...options, signal: waiting?.signal });
  const inLines = response.headers.get('content-type')?.startsWith(LINES);
  const body = inLines ? await lastLine(response.body, showProgress) : await readJson(response);
  if (!response.ok || body.error)
    throw Object.assign(new Error(body.error?.message ?? response.statusText), { code: body.error?.code });
  return body;
}

/** Who refuses in the server's stead may not do so in JSON. */
async function readJson(response) {
  if (response.ok) return response.json();
  return response.json().catch(() => ({}));
}

/** Of an answer in lines, that with the result; those before it say how far the work is. */
async function lastLine(body, onProgress) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error('the answer ended early');
    const lines = (text + value).split('\n');
    text = lines.pop();
    for (const line of lines.map((one) => JSON.parse(one))) {
      if (line.total === undefined) return line;
      onProgress(line.done / line.total);
    }
  }
}

function showProgress(share) {
  progress.value = share;
  progress.hidden = false;
}

const json = (body) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', accept: `${LINES}, application/json;q=0.9` },
  body: JSON.stringify(body),
});

/** Runs one request; a failure is said and changes nothing, nor does stopping it. */
async function wait(label, work) {
  if (waiting) return;
  waiting = new AbortController();
  say(label);
  update();
  const long = setTimeout(() => offerStop(true), LONG);
  try {
    await work();
  } catch (error) {
    if (error.name === 'AbortError') say('Stopped.');
    else say(error.message, true);
  } finally {
    clearTimeout(long);
    waiting = undefined;
    progress.hidden = true;
    // Of the picture on show, where another one did not come.
    if (picture) showSettings(picture);
    offerStop(false);
    update();
  }
}

/** In the place of what most often takes long. */
function offerStop(offered) {
  everything.textContent = offered ? 'Stop' : 'Everything';
  if (offered) everything.disabled = false;
}

/** How a picture is encoded. */
const settings = () => ({ side: size.value, zoomed: zoom.checked });
function showSettings({ side, zoomed }) {
  size.value = side;
  zoom.checked = zoomed;
}

const send = (blob, { side, zoomed }) =>
  ask(`images?size=${side}&zoom=${zoomed}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: blob,
  });

/** About the picture; one that the server no longer keeps is sent again, and its answers are gone with it. */
async function askAbout(what, { mask, ...body }) {
  const request = (body) => ask(`images/${picture.id}/${what}`, json(body));
  try {
    return await request({ ...body, mask });
  } catch (error) {
    if (error.code !== 'ERR_DISPOSED') throw error;
    say('encoding again …');
    picture = { ...picture, ...(await send(picture.blob, picture)) };
    return request(body);
  }
}

const open = (blob) =>
  wait('encoding …', async () => {
    const bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image' });
    const wanted = settings();
    const encoded = await send(blob, wanted);
    if (picture) fetch(`images/${picture.id}`, { method: 'DELETE' }).catch(() => {});
    picture = { ...encoded, bitmap, blob, ...wanted };
    steps = [];
    cross = undefined;
    [canvas.width, canvas.height] = [encoded.width, encoded.height];
    canvas.style.setProperty('--width', encoded.width);
    canvas.style.setProperty('--height', encoded.height);
    canvas.hidden = false;
    empty.hidden = true;
    const { width, height, input, ms } = encoded;
    say(`${width} × ${height}, encoded at ${input.width} × ${input.height} in ${Math.round(ms)} ms`);
  });

/** All clicks so far and the last box, with the last answer to be refined. */
function prompt(prompts) {
  const clicks = prompts.filter(({ label }) => label !== undefined);
  const box = prompts.findLast(({ box }) => box)?.box;
  const points = clicks.map(({ x, y }) => [x, y]);
  return { ...(points.length > 0 && { points, labels: clicks.map(({ label }) => label) }), box };
}

const take = (step) =>
  wait('segmenting …', async () => {
    const prompts = [...steps.filter(({ all }) => !all), step];
    const last = prompts.at(-2)?.masks[0].id;
    const answer = (mask) => askAbout('masks', { ...prompt(prompts), mask, polygons: true });
    const { masks, ms } = await answer(last).catch((error) => {
      // After many steps back, an answer that the server no longer keeps: the prompts stand without it.
      if (!last || error.code !== 'ERR_PROMPT') throw error;
      return answer();
    });
    steps = [...prompts.slice(0, -1), { ...step, masks }];
    say(`IoU ${masks[0].score.toFixed(2)} predicted, ${Math.round(ms)} ms`);
  });

const takeEverything = () =>
  wait('clicking everywhere …', async () => {
    const bounds = { pointsPerSide: 16, minScore: 0.5, minStability: 0.8, polygons: true };
    const { masks, ms } = await askAbout('everything', bounds);
    masks.sort((a, b) => b.area - a.area);
    steps = [{ all: true, masks }];
    say(`${masks.length} masks, ${(ms / 1000).toFixed(1)} s`);
  });

/** Outlines with holes, as rings of corners. */
function outline(polygons) {
  const path = new Path2D();
  for (const { outer, holes } of polygons) {
    for (const ring of [outer, ...holes]) {
      path.moveTo(...ring[0]);
      for (const corner of ring) path.lineTo(...corner);
      path.closePath();
    }
  }
  return path;
}

function fill(context, masks, line) {
  masks.forEach(({ polygons }, i) => {
    const path = outline(polygons);
    const color = COLORS[i % COLORS.length];
    Object.assign(context, { fillStyle: `${color}73`, strokeStyle: color, lineWidth: line });
    context.fill(path, 'evenodd');
    context.stroke(path);
  });
}

function draw() {
  if (!picture) return;
  const context = canvas.getContext('2d');
  // About two pixels of the screen.
  const line = Math.max(0.5, Math.max(canvas.width, canvas.height) / 500);
  context.drawImage(picture.bitmap, 0, 0, canvas.width, canvas.height);
  fill(context, steps.at(-1)?.masks ?? [], line);
  const boxes = [prompt(steps).box, frame].filter(Boolean);
  for (const [x0, y0, x1, y1] of boxes) {
    Object.assign(context, { strokeStyle: '#fff', lineWidth: line });
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  for (const { x, y, label } of steps.filter(({ label }) => label !== undefined)) {
    context.beginPath();
    context.arc(x, y, 3.5 * line, 0, 2 * Math.PI);
    Object.assign(context, {
      fillStyle: label ? '#12a150' : '#d92c20',
      strokeStyle: '#fff',
      lineWidth: line,
    });
    context.fill();
    context.stroke();
  }
  if (cross && canvas.matches(':focus-visible')) drawCross(context, cross, line);
}

function drawCross(context, [x, y], line) {
  const arm = 8 * line;
  // White on black: it is seen on any picture.
  for (const [strokeStyle, lineWidth] of [
    ['#000', 2 * line],
    ['#fff', line],
  ]) {
    Object.assign(context, { strokeStyle, lineWidth });
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
}

let maskUrl;
/** The mask on show, white on black, for the link that saves it. */
function offerMask() {
  URL.revokeObjectURL(maskUrl);
  const step = steps.at(-1);
  save.hidden = !step || step.all;
  if (save.hidden) return;
  const page = document.createElement('canvas');
  [page.width, page.height] = [canvas.width, canvas.height];
  page.getContext('2d').putImageData(pixelsOf(step.masks[0].rle), 0, 0);
  page.toBlob((blob) => {
    maskUrl = URL.createObjectURL(blob);
    save.href = maskUrl;
  });
}

function update() {
  canvas.style.cursor = waiting ? 'progress' : '';
  undo.disabled = reset.disabled = waiting || steps.length === 0;
  everything.disabled = waiting || !picture;
  size.disabled = zoom.disabled = file.disabled = Boolean(waiting);
  draw();
  if (!waiting) offerMask();
}

function back(count) {
  if (waiting || steps.length === 0) return;
  steps = count === undefined ? [] : steps.slice(0, -count);
  say(steps.length > 0 ? `IoU ${steps.at(-1).masks[0].score.toFixed(2)} predicted` : 'Click on an object.');
  update();
}

const within = (at, most) => Math.min(most, Math.max(0, at));

/** Where on the picture an event is, in its pixels. */
function place(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [
    within(((event.clientX - left) / width) * canvas.width, canvas.width),
    within(((event.clientY - top) / height) * canvas.height, canvas.height),
  ];
}

let pressed;
canvas.addEventListener('pointerdown', (event) => {
  if (event.button === 1) return;
  pressed = { event, at: place(event) };
  canvas.setPointerCapture(event.pointerId);
});
const isDrag = (event) =>
  Math.hypot(event.clientX - pressed.event.clientX, event.clientY - pressed.event.clientY) > DRAG;
const boxTo = (event) => {
  const [[ax, ay], [bx, by]] = [pressed.at, place(event)];
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
};
canvas.addEventListener('pointermove', (event) => {
  frame = pressed && isDrag(event) ? boxTo(event) : undefined;
  if (pressed) draw();
});
canvas.addEventListener('pointerup', (event) => {
  if (!pressed) return;
  const box = isDrag(event) ? boxTo(event) : undefined;
  const [x, y] = pressed.at;
  const label = event.shiftKey || negative.checked || pressed.event.button === 2 ? 0 : 1;
  pressed = frame = undefined;
  take(box ? { box } : { x, y, label });
});
function letGo() {
  pressed = frame = undefined;
  draw();
}
canvas.addEventListener('pointercancel', letGo);
canvas.addEventListener('contextmenu', (event) => event.preventDefault());

canvas.addEventListener('keydown', (event) => {
  const { key, shiftKey } = event;
  if (!(key in ARROWS) && key !== 'Enter') return;
  event.preventDefault();
  cross ??= [canvas.width / 2, canvas.height / 2];
  const [x, y] = cross;
  if (key === 'Enter') return void take({ x, y, label: shiftKey || negative.checked ? 0 : 1 });
  const step = (shiftKey ? SMALL_STEP : STEP) * Math.max(canvas.width, canvas.height);
  const [right, down] = ARROWS[key];
  cross = [within(x + step * right, canvas.width), within(y + step * down, canvas.height)];
  draw();
});
canvas.addEventListener('focus', () => {
  if (canvas.matches(':focus-visible')) cross ??= [canvas.width / 2, canvas.height / 2];
  draw();
});
canvas.addEventListener('blur', draw);

undo.addEventListener('click', () => back(1));
reset.addEventListener('click', () => back());
everything.addEventListener('click', () => (waiting ? waiting.abort() : takeEverything()));
addEventListener('keydown', (event) => {
  if (event.key.toLowerCase() === 'z') back(1);
  if (event.key !== 'Escape') return;
  if (pressed) letGo();
  else if (waiting) waiting.abort();
  else back();
});
for (const setting of [size, zoom]) setting.addEventListener('change', () => picture && open(picture.blob));
/** Another picture, if one was given. */
function offer(blob) {
  if (!blob) return;
  if (waiting) say('One after the other: this is still under way.', true);
  else open(blob);
}
file.addEventListener('change', () => {
  offer(file.files[0]);
  // The same file may be chosen again.
  file.value = '';
});
addEventListener('paste', ({ clipboardData }) => offer(clipboardData.files[0]));
addEventListener('dragover', (event) => {
  event.preventDefault();
  stage.classList.add('over');
});
addEventListener('dragleave', () => stage.classList.remove('over'));
addEventListener('drop', (event) => {
  event.preventDefault();
  stage.classList.remove('over');
  offer(event.dataTransfer.files[0]);
});

ask('health')
  .then((model) => {
    // Segment Anything knows one size.
    const factors = model.family === 'sam' ? [1] : [0.5, 1, 2, 4];
    for (const factor of factors) size.add(new Option(factor * model.size));
    showSettings({ side: model.size, zoomed: model.zoom });
  })
  .catch((error) => say(error.message, true));
