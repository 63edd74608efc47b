import { CommanderError } from 'commander';

/** Ends a command with exit code 2: its arguments make no sense together. */
export function usageError(message: string): never {
  process.stderr.write(`hrsam: ${message}\n`);
  throw new CommanderError(2, 'hrsam.usage', message);
}
