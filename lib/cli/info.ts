import { Command } from 'commander';
import { firstOf, HrsamError } from '../errors.js';
import type { ModelConfig } from '../weights/config.js';
import { randomPreset } from '../weights/random_name.js';
import {
  addWeightsOptions,
  heightAndWidth,
  type ModelOptions,
  readConfig,
  weightsOf,
  wholeNumber,
} from './options.js';
import { formatBytes, print, printJson, table } from './output.js';

interface InfoOptions extends Pick<ModelOptions, 'weights' | 'config'> {
  flops?: [number, number];
  depth: number;
  json?: boolean;
}

const HELP = `
Without a name, lists the presets. Operations are those of products and of all else that layers do, a multiply-add being
two; tokens that pad SAM's windows are not computed and not counted. Bytes are what would pass memory if every operand
and result did once.

Examples:
  $ hrsam info hrsam-b --flops 1024x1024
  $ hrsam info checkpoint.pth --config config.json --json`;

export function infoCommand(): Command {
  const command = new Command('info')
    .description('show what a weights file or a preset is')
    .argument('[weights]', '.safetensors, .pth or .pt, or the name of a preset');
  return addWeightsOptions(command, 'the presets are listed')
    .option('--flops <HxW>', 'floating-point operations of an image of this size, by layer', heightAndWidth)
    .option('--depth <n>', 'parts of a layer’s name that --flops tells apart', wholeNumber(1), 3)
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(info);
}

async function info(argument: string | undefined, options: InfoOptions): Promise<void> {
  const weights = weightsOf(argument, options);
  if (weights === undefined) return listPresets(options.json ?? false);
  const name = randomPreset(weights) ?? weights;
  const { describe } = await import('./info_model.js');
  const found = await describe(name, await readConfig(options)).catch(async (error) => {
    if (!(error instanceof HrsamError) || error.code !== 'ERR_FILE' || /[\\/.]/.test(name)) throw error;
    const { PRESET_NAMES } = await import('../weights/presets.js');
    throw new HrsamError('ERR_FILE', 'neither a file nor a preset', {
      where: name,
      expected: `a path, ${PRESET_NAMES.join(', ')}`,
      cause: error,
    });
  });
  const flops =
    options.flops &&
    (await import('../predictor/flops.js')).flopsByLayer(found.config, options.flops, options.depth);
  if (options.json) {
    printJson({ ...found, flops });
    return;
  }
  const { config, parameters, stored, metadata, unexpected } = found;
  print(`${name}: ${found.variant}`);
  if (stored) {
    print(`stored as ${stored.format}, ${stored.dtypes.join(', ')}, ${formatBytes(stored.bytes)}`);
    for (const [key, value] of Object.entries(metadata ?? {}))
      print(`metadata ${key}: ${value.slice(0, 100)}`);
    if (unexpected?.length) print(`not of the model: ${firstOf(unexpected)}`);
  }
  const total = Object.values(parameters).reduce((sum, count) => sum + count, 0);
  const rows = Object.entries({ ...parameters, total }).map(([part, count]) => [part, grouped(count)]);
  print(`\n${table(['parameters', ''], rows)}\n`);
  print(configLines(config).join('\n'));
  if (flops) {
    const cells = [...flops.layers, { layer: 'total', ...flops.total }].map(({ layer, flops: f, bytes }) => [
      layer,
      (f / 1e9).toFixed(3),
      (bytes / 1e6).toFixed(1),
    ]);
    print(`\n${table([`layer at ${options.flops!.join(' x ')}`, 'GFLOP', 'MB'], cells)}`);
    print(`${(flops.perPixel / 1e3).toFixed(1)} kFLOP per pixel`);
  }
}

async function listPresets(json: boolean): Promise<void> {
  const { PRESET_NAMES } = await import('../weights/presets.js');
  const { describe } = await import('./info_model.js');
  const presets = await Promise.all(
    PRESET_NAMES.map(async (name) => {
      const { variant, parameters } = await describe(name);
      return { name, variant, parameters: Object.values(parameters).reduce((sum, count) => sum + count, 0) };
    }),
  );
  if (json) printJson({ presets });
  else
    print(
      table(
        ['preset', 'family', 'parameters'],
        presets.map((p) => [p.name, p.variant, grouped(p.parameters)]),
        [0, 1],
      ),
    );
}

const grouped = (count: number): string => count.toLocaleString('en-US');

/** `encoder.depth 12`, one line per setting. */
function configLines(config: ModelConfig): string[] {
  return Object.entries(config).flatMap(([part, settings]) =>
    typeof settings === 'object'
      ? Object.entries(settings as Record<string, unknown>).map(
          ([key, value]) => `${part}.${key} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
        )
      : [`${part} ${settings}`],
  );
}
