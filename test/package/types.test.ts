import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';
import { hrsam } from '../cli/support.js';
import { root } from '../support/files.js';

/** As they are shipped, in one file. */
const index = join(root, 'dist/index.d.ts');

/** As strict as `tsc --init` makes a new project. */
const STRICTEST: ts.CompilerOptions = {
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ['node'],
  skipLibCheck: true,
  paths: { hrsam: [index] },
};

/** What the compiler says about sources by name that import 'hrsam'. */
function complaints(sources: Record<string, string>, options: ts.CompilerOptions = {}): string[] {
  const settings = { ...STRICTEST, ...options };
  const files = new Map(Object.entries(sources).map(([name, text]) => [join(root, name), text]));
  const host = ts.createCompilerHost(settings);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = files.get(path);
    return text === undefined
      ? getSourceFile.call(host, path, ...rest)
      : ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
  };
  host.writeFile = () => {};
  const program = ts.createProgram([...files.keys()], settings, host);
  return [...files.keys()].flatMap((path) => {
    const file = program.getSourceFile(path)!;
    const found = [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
      ...(options.declaration ? program.emit(file).diagnostics : []),
    ];
    return found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  });
}

beforeAll(async () => {
  await hrsam(['--version']); // builds dist/ where that is due
}, 120_000);

describe('types', () => {
  it('take the samples of the README as they are', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const blocks = [...readme.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
    expect(blocks.length).toBeGreaterThanOrEqual(4);
    // A sample that imports begins anew; others go on with its names, in a scope of their own.
    const samples: string[] = [];
    for (const block of blocks) {
      if (block.startsWith('import ')) samples.push(block);
      else samples.push(`${samples.pop()}{\n${block}}\n`);
    }
    const sources = Object.fromEntries(samples.map((code, i) => [`readme${i}.mts`, code]));
    expect(complaints(sources)).toEqual([]);
  });

  it('have names, so that what is made of them can be exported', () => {
    const source = `
      import { Device, type HRSAM, type Mask, ops } from 'hrsam';
      export const sizes = async (model: HRSAM) => (await model.encode('photo.jpg')).original;
      export const load = (dtype: NonNullable<Parameters<typeof HRSAM.load>[1]>['dtype']) => dtype;
      export const cpus = () => Device.list('cpu');
      export const encode = (device: Device) => device.encodeMasks(device.tensor([1, 2, 2], 'u8'));
      export const outline = (mask: Mask) => mask.polygons()[0]?.outer;
      export const options = (given: Parameters<typeof ops.windowAttention>[2]) => given;
      export const elements = async () => (await Device.open().tensor([1]).data())[0];
    `;
    expect(complaints({ 'exported.mts': source }, { declaration: true })).toEqual([]);
  });

  it('tell a tensor by its type and outputs by their names', () => {
    const source = `
      import { Device, evaluate, ops } from 'hrsam';
      const x = Device.open('cpu').tensor([2], 'f32');
      const elements: Float32Array = await x.data();
      const { y } = await evaluate({ x }, (graph, { x, w }) => ({ y: ops.add(graph, x, w) }), { constants: { w: x } });
      y.dispose();
      // @ts-expect-error there is no such output
      await evaluate({ x }, (graph, { x }) => ({ y: x })).then(({ z }) => z);
      export { elements };
    `;
    expect(complaints({ 'typed.mts': source })).toEqual([]);
  });

  it('are documented, every one and every field', () => {
    const program = ts.createProgram([index], STRICTEST);
    const checker = program.getTypeChecker();
    const seen = new Set<ts.Symbol>();
    const missing: string[] = [];
    const visit = (symbol: ts.Symbol, path: string): void => {
      const own = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const declaration = own.declarations?.[0];
      if (
        seen.has(own) ||
        !declaration ||
        ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private
      )
        return;
      seen.add(own);
      const written = [own, symbol].some(
        (one) => one.getDocumentationComment(checker).length + one.getJsDocTags(checker).length > 0,
      );
      // Of `ops`, a module, the bundler keeps no comment.
      if (!written && !ts.isModuleDeclaration(declaration)) missing.push(path);
      const { exports = [], members = [] } = own;
      for (const [name, member] of [...exports, ...members])
        if (!/^(__|prototype$)/.test(String(name)) && !(member.flags & ts.SymbolFlags.TypeParameter))
          visit(member, `${path}.${name}`);
    };
    const module = checker.getSymbolAtLocation(program.getSourceFile(index)!)!;
    for (const symbol of checker.getExportsOfModule(module)) visit(symbol, symbol.name);
    expect(missing).toEqual([]);
  });
});
