import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { type Browser, chromium, type Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { decodeRle, decompressRle } from '../../lib/image/rle.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { createServer } from '../../lib/server/server.js';
import { photograph } from '../support/files.js';
import { device } from '../support/run.js';

/** A browser of this machine's own; none is installed for the test. */
const browserPath = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(folder, name)))
  .find((path) => existsSync(path));

describe.skipIf(!browserPath)('the page', { timeout: 60_000 }, () => {
  let model: HRSAM;
  let server: FastifyInstance;
  let browser: Browser;
  let address: string;
  let page: Page;
  const failures: string[] = [];

  beforeAll(async () => {
    model = await HRSAM.load(undefined, { device });
    server = createServer([model]);
    address = await server.listen({ port: 0 });
    browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await server?.close();
    model?.dispose();
  });

  const status = (text: RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor();
  /** Clicks at shares of the picture. */
  async function click(x: number, y: number, button: 'left' | 'right' = 'left') {
    const { width, height } = (await page.locator('canvas').boundingBox())!;
    await page.locator('canvas').click({ position: { x: x * width, y: y * height }, button });
  }
  /** The picture as it is on show: equal where nothing was drawn. */
  const shown = () =>
    page.locator('canvas').evaluate((canvas: { toDataURL(): string }) => canvas.toDataURL());

  beforeEach(async () => {
    page = await browser.newPage();
    page.on('pageerror', ({ message }) => failures.push(message));
    page.on('console', (message) => message.type() === 'error' && failures.push(message.text()));
    await page.goto(address);
    await page.locator('#size').selectOption('512');
    await page.locator('#file').setInputFiles(photograph);
    await status(/807 × 1024, encoded at 512 × 512/);
    return async () => {
      await page.close();
      expect(failures.splice(0)).toEqual([]);
    };
  });

  it('shows a mask after a click, refines it, and takes clicks back', async () => {
    const bare = await shown();
    await click(0.5, 0.55);
    await status(/IoU .* predicted/);
    const first = await shown();
    expect(first).not.toBe(bare);
    await click(0.9, 0.9, 'right');
    await expect.poll(shown).not.toBe(first);
    await status(/IoU .* predicted/);
    await page.getByText('Undo').click();
    await expect.poll(shown).toBe(first);
    await page.keyboard.press('Escape');
    await expect.poll(shown).toBe(bare);
  });

  it('goes on from a step whose answer the server no longer keeps', async () => {
    const refine = async (x: number, y: number) => {
      await click(x, y);
      await status(/IoU .* predicted/);
    };
    for (let i = 0; i < 18; i++) await refine(0.3 + 0.02 * i, 0.5);
    for (let i = 0; i < 17; i++) await page.getByText('Undo').click();
    await refine(0.5, 0.6);
    expect(failures.splice(0)).toEqual([expect.stringMatching(/400/)]);
  });

  it('segments what a box is drawn around, and offers the mask as a file', async () => {
    const answered = page.waitForResponse(/masks/);
    const { x, y, width, height } = (await page.locator('canvas').boundingBox())!;
    await page.mouse.move(x + 0.2 * width, y + 0.3 * height);
    await page.mouse.down();
    await page.mouse.move(x + 0.8 * width, y + 0.9 * height, { steps: 3 });
    await page.mouse.up();
    await status(/IoU .* predicted/);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByText('Save mask').click(),
    ]);
    expect(download.suggestedFilename()).toBe('mask.png');
    const saved = await sharp(await download.path())
      .raw()
      .toBuffer({ resolveWithObject: true });
    const [mask] = (await (await answered).json()).masks;
    const pixels = decodeRle(decompressRle(mask.rle));
    expect([saved.info.width, saved.info.height]).toEqual([807, 1024]);
    const { channels } = saved.info;
    const wrong = pixels.findIndex((set, i) => saved.data[i * channels] !== (set ? 255 : 0));
    expect(wrong).toBe(-1);
  });

  it('takes one thing after the other, and shows what there is', async () => {
    let go = () => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    await page.route(/masks/, async (route) => {
      await held;
      await route.continue();
    });
    await click(0.5, 0.6);
    expect(await page.locator('#size').isDisabled()).toBe(true);
    await page.locator('canvas').click({ button: 'middle' });
    await page.evaluate(`{
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(['no picture'], 'notes.txt'));
      dispatchEvent(new DragEvent('drop', { dataTransfer }));
    }`);
    await status(/under way/);
    go();
    await status(/IoU .* predicted/);
    expect(await page.locator('#size').isDisabled()).toBe(false);
    // Another size that fails leaves the picture at the one it has.
    await page.route(/images\?size=1024/, (route) => route.fulfill({ status: 502, body: '<html>' }));
    await page.locator('#size').selectOption('1024');
    await status(/Bad Gateway/);
    expect(await page.locator('#size').inputValue()).toBe('512');
    expect(failures.splice(0)).toEqual([expect.stringMatching(/502/)]);
    // An answer that is none changes nothing.
    const before = await shown();
    await page.route(/images\?size=2048/, (route) => route.fulfill({ status: 200, body: '<html>' }));
    await page.locator('#size').selectOption('2048');
    await status(/JSON/);
    expect([await page.locator('#size').inputValue(), await shown()]).toEqual(['512', before]);
    await page.unroute(/masks/);
    await click(0.4, 0.4);
    await status(/IoU .* predicted/);
  });

  it('asks for a picture until there is one, and shows a small one larger', async () => {
    await page.goto(address);
    const [chooser] = await Promise.all([
      page.waitForEvent('filechooser'),
      page.getByText('Choose a picture').click(),
    ]);
    await chooser.setFiles({
      name: 'small.png',
      mimeType: 'image/png',
      buffer: await sharp(photograph).resize(80, 60, { fit: 'fill' }).png().toBuffer(),
    });
    await status(/80 × 60, encoded at 1024 × 1024/);
    expect(await page.getByText('Choose a picture').isVisible()).toBe(false);
    expect(await page.locator('canvas').boundingBox()).toMatchObject({ width: 320, height: 240 });
    expect((await asked(() => click(0.25, 0.5))).points).toEqual([[20, 30]]);
  });

  it('zooms in where that is asked for', async () => {
    const sent = page.waitForRequest(/images\?size=512&zoom=true/);
    await page.getByLabel('Zoom in').check();
    await sent;
    await status(/encoded at 512 × 512/);
    await click(0.5, 0.55);
    await status(/IoU .* predicted/);
    expect(await page.locator('#zoom').isChecked()).toBe(true);
  });

  it('says what is wrong', async () => {
    const file = { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no picture') };
    await page.locator('#file').setInputFiles(file);
    await status(/could not be decoded/);
  });

  it('stops what takes long, and keeps what was there', async () => {
    await click(0.5, 0.6);
    await status(/IoU .* predicted/);
    const before = await shown();
    await page.route(/everything/, () => {});
    for (const stop of [
      () => page.getByRole('button', { name: 'Stop' }).click(),
      () => page.keyboard.press('Escape'),
    ]) {
      await page.getByRole('button', { name: 'Everything' }).click();
      await status(/clicking everywhere/);
      await stop();
      await status(/Stopped/);
      expect(await shown()).toBe(before);
    }
    await page.getByRole('button', { name: 'Everything' }).waitFor();
  });

  it('shows how far everything is, and what is found', async () => {
    const bar = page.locator('#progress');
    await expect.poll(() => bar.isVisible()).toBe(false);
    const seen = bar.waitFor();
    await page.getByRole('button', { name: 'Everything' }).click();
    await seen;
    await status(/\d+ masks, /);
    expect(Number(await bar.getAttribute('value'))).toBe(1);
    expect(await bar.isVisible()).toBe(false);
  });

  it('sends a picture again that the server no longer keeps', async () => {
    await server.inject({ method: 'DELETE', url: `/images/${await lastImage()}` });
    await click(0.5, 0.6);
    await page.waitForResponse((response) => response.url().includes('images?size=512') && response.ok());
    await status(/IoU .* predicted/);
    expect(failures.splice(0)).toEqual([expect.stringMatching(/404/)]);
  });

  /** Clicks that the next request brings. */
  async function asked(act: () => Promise<unknown>): Promise<{ points?: number[][]; labels?: number[] }> {
    const [request] = await Promise.all([page.waitForRequest(/images\/.*\/masks/), act()]);
    await request.response();
    await status(/IoU .* predicted/);
    return request.postDataJSON();
  }

  it('is used without a mouse', async () => {
    await page.locator('#file').focus();
    await page.keyboard.press('Tab');
    await expect(page.evaluate('document.activeElement.id')).resolves.toBe('size');
    await page.locator('#negative').focus();
    await page.keyboard.press('Tab');
    await expect(page.evaluate('document.activeElement.id')).resolves.toBe('canvas');
    await page.keyboard.press('ArrowDown');
    const first = await asked(() => page.keyboard.press('Enter'));
    expect(first.points).toEqual([[807 / 2, 512 + 0.02 * 1024]]);
    await page.keyboard.press('Shift+ArrowLeft');
    const second = await asked(() => page.keyboard.press('Shift+Enter'));
    expect(second.points![1]![0]).toBeCloseTo(807 / 2 - 0.002 * 1024);
    expect(second.labels).toEqual([1, 0]);
  });

  it('takes what is not the object without a second button', async () => {
    await click(0.5, 0.55);
    await status(/IoU .* predicted/);
    await page.getByLabel('Not this').check();
    expect((await asked(() => click(0.9, 0.9))).labels).toEqual([1, 0]);
  });

  it('keeps the picture inside the window and where it is, also on a phone', async () => {
    for (const viewport of [
      { width: 1000, height: 500 },
      { width: 360, height: 640 },
    ]) {
      await page.setViewportSize(viewport);
      const before = (await page.locator('canvas').boundingBox())!;
      const footer = (await page.locator('footer').boundingBox())!;
      expect(before.y + before.height).toBeLessThanOrEqual(footer.y);
      expect(before.x).toBeGreaterThanOrEqual(0);
      expect(before.x + before.width).toBeLessThanOrEqual(viewport.width);
      await click(0.5, 0.55);
      await status(/IoU .* predicted/);
      expect(await page.locator('canvas').boundingBox()).toEqual(before);
      await page.keyboard.press('Escape');
    }
  });

  it('draws a box with a finger', async () => {
    const { x, y, width, height } = (await page.locator('canvas').boundingBox())!;
    const touch = await page.context().newCDPSession(page);
    const send = (type: string, share?: number) =>
      touch.send('Input.dispatchTouchEvent', {
        type: type as 'touchMove',
        touchPoints: share === undefined ? [] : [{ x: x + share * width, y: y + share * height }],
      });
    const request = page.waitForRequest(/images\/.*\/masks/, { timeout: 10_000 });
    await send('touchStart', 0.2);
    for (const share of [0.3, 0.4, 0.5, 0.6, 0.7]) await send('touchMove', share);
    await send('touchEnd');
    expect((await request).postDataJSON().box[0]).toBeCloseTo(0.2 * 807, -1);
    await status(/IoU .* predicted/);
  });

  /** The id of the page's picture, from a request that it makes. */
  async function lastImage(): Promise<string> {
    const [request] = await Promise.all([page.waitForRequest(/images\/.*\/masks/), click(0.4, 0.4)]);
    await status(/IoU .* predicted/);
    return /images\/(.*)\/masks/.exec(request.url())![1]!;
  }
});
