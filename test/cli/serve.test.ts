import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { photograph } from '../support/files.js';
import { hrsam } from './support.js';

const MODEL = ['-w', 'random:hrsam-tiny', '-d', 'cpu'];

describe('serve', () => {
  test('answers until a signal ends it, and then ends well', async () => {
    let answered: Promise<unknown> | undefined;
    const result = await hrsam(['serve', ...MODEL, '--port', '0'], {
      started(child) {
        let said = '';
        child.stdout!.on('data', (text) => {
          said += text;
          const address = /http:\S+/.exec(said)?.[0];
          if (!address || answered) return;
          answered = fetch(`${address}/images`, {
            method: 'POST',
            headers: { 'content-type': 'image/jpeg' },
            body: readFileSync(photograph),
          })
            .then(async (response) => ({ status: response.status, body: await response.json() }))
            .finally(() => child.kill('SIGINT'));
        });
      },
    });
    expect(await answered).toMatchObject({ status: 201, body: { height: 1024, width: 807 } });
    const stderr = 'hrsam: random:hrsam-tiny is untrained: its masks mean nothing\n';
    expect(result).toMatchObject({ code: 0, stderr });
  });

  test('warns of memory in which no picture has room', async () => {
    const stop = (child: ChildProcess) => child.stdout!.once('data', () => child.kill('SIGINT'));
    const result = await hrsam(['serve', '-d', 'cpu', '--port', '0', '--memory', '1'], { started: stop });
    const stderr = 'hrsam: --memory 1 (MB) keeps no picture: one takes 6.29 MB, all will be refused\n';
    expect(result).toMatchObject({ code: 0, stderr });
  });

  test('ends badly when nobody reads its log any more', async () => {
    const result = await hrsam(['serve', ...MODEL, '--port', '0', '--log'], {
      started(child) {
        child.stdout!.once('data', (text) => {
          const address = /http:\S+/.exec(String(text))![0];
          child.stdout!.destroy();
          const ask = (): Promise<void> => fetch(`${address}/health`).then(ask, () => {});
          void ask();
        });
      },
    });
    expect(result.code).toBe(1);
  });

  test.each([
    [['--host', ''], /--host.*expected an address/],
    [['--allow-origin', 'https://a.example/'], /expected https:\/\/example.org, without a path/],
    [['--allow-origin', 'example.org'], /expected https:\/\/example.org, without a path/],
  ])('refuses %j before it loads anything', async (args, message) => {
    const { code, stderr } = await hrsam(['serve', '-w', 'none.safetensors', '--port', '0', ...args]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
  });

  test('refuses a port that there cannot be', async () => {
    const { code, stderr } = await hrsam(['serve', '-w', 'none.safetensors', '--port', '65536']);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/--port.*Expected a whole number from 0 to 65535/),
    ]);
  });

  test('says that a port is taken, before it loads anything', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const { code, stderr } = await hrsam(['serve', '-w', 'none.safetensors', '--port', `${port}`]);
    other.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(/cannot listen.*EADDRINUSE/);
  });
});
