import { Command, CommanderError } from 'commander';
import { HrsamError } from '../errors.js';
import { packageVersion } from '../runtime/addon.js';
import { benchCommand } from './bench.js';
import { convertCommand } from './convert.js';
import { decodeCommand } from './decode.js';
import { doctorCommand } from './doctor.js';
import { embedCommand } from './embed.js';
import { evalCommand } from './eval.js';
import { everythingCommand } from './everything.js';
import { infoCommand } from './info.js';
import { catchSignals, interruptedExitCode, interruption } from './interrupt.js';
import { printable } from './output.js';
import { segmentCommand } from './segment.js';
import { serveCommand } from './serve.js';
import { trainCommand } from './train.js';
import { usageError } from './usage.js';

/** Exit codes: 1 for what went wrong, 2 for a command line that makes no sense. */
const EXIT = { failure: 1, usage: 2 } as const;

const HELP = `
Exit codes: 0 all went well, or train has saved, or serve closed, after a signal; 1 something failed; 2 the command line
makes no sense; 128 + n interrupted by signal n.`;

const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, ' ');

function program(): Command {
  const root = new Command('hrsam')
    .description('Segment anything at full resolution: HRSAM, HRSAM++ and SAM.')
    .version(packageVersion())
    .showHelpAfterError(false)
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', HELP);
  const commands = [
    segmentCommand(),
    everythingCommand(),
    embedCommand(),
    decodeCommand(),
    serveCommand(),
    evalCommand(),
    infoCommand(),
    convertCommand(),
    doctorCommand(),
    trainCommand(),
    benchCommand(),
  ];
  for (const command of commands) {
    command.option('--debug', 'show the stack of an error');
    root.addCommand(command);
  }
  for (const command of [root, ...commands, ...commands.flatMap(({ commands: inner }) => inner)]) {
    command.exitOverride().configureOutput({
      outputError: (text, write) => write(`hrsam: ${oneLine(text.replace(/^error: /, ''))}\n`),
    });
  }
  root.hook('preAction', (_, command) => {
    const values: unknown[] = [...command.args, ...Object.values(command.opts()).flat()];
    if (values.includes('-'))
      usageError(
        '- is neither stdin nor stdout: give a file (./- for one of that name; outputs may be /dev/stdout)',
      );
  });
  return root;
}

/** Runs a command line; ends with `process.exitCode` set once everything under way has ended. */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough (`hrsam info | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    process.stderr.write(`hrsam: the output cannot be written (${error.code})\n`);
    process.exit(EXIT.failure);
  });
  catchSignals();
  try {
    await program().parseAsync(argv as string[]);
  } catch (error) {
    process.exitCode = report(error, argv.includes('--debug'));
  }
}

function report(error: unknown, debug: boolean): number {
  // Commander has printed its own errors, or help and version, which end a command line well.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
  if (interruption().aborted) {
    process.stderr.write('hrsam: interrupted\n');
    return interruptedExitCode();
  }
  const message = error instanceof Error ? error.message : String(error);
  const known = error instanceof HrsamError && error.code !== 'ERR_INTERNAL';
  process.stderr.write(
    `hrsam: ${printable(oneLine(message))}${known || debug ? '' : ' (--debug shows where)'}\n`,
  );
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return EXIT.failure;
}
