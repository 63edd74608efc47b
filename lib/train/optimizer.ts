import { type Build, program } from '../graph/evaluate.js';
import { type AdamWOptions, adamw, type ParameterGroup } from '../graph/ops/adamw.js';
import { type MuonMatrix, muon } from '../graph/ops/muon.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Program } from '../runtime/program.js';
import { isLayerMatrix } from './groups.js';
import type { ParameterLayout } from './layout.js';

/** How parameters are moved: all by AdamW, or the matrices of linear layers by Muon and the rest by AdamW. */
export const OPTIMIZERS = ['adamw', 'muon'] as const;
export type Optimizer = (typeof OPTIMIZERS)[number];

/** As published; gradients are not clipped. */
export const ADAMW: AdamWOptions = { betas: [0.9, 0.999], eps: 1e-8, clip: 0 };

/** Muon's moments are of more steps. */
const MUON: AdamWOptions = { ...ADAMW, betas: [0.95, 0.999] };

/** What AdamW, which keeps the moments of all parameters, takes unless told. */
export const MOMENTS: Record<Optimizer, AdamWOptions> = { adamw: ADAMW, muon: MUON };

/** The matrices that Muon moves, and the groups without them: AdamW keeps their moments and leaves them where they are. */
export function divideForMuon(
  { parameters, offsets }: Pick<ParameterLayout, 'parameters' | 'offsets'>,
  groups: readonly ParameterGroup[],
): { groups: ParameterGroup[]; matrices: MuonMatrix[] } {
  const matrices = parameters.flatMap((parameter, i) => {
    if (!isLayerMatrix(parameter)) return [];
    const [rows, columns] = parameter.shape as [number, number];
    const { rate, decay } = groups[i]!;
    return [{ offset: offsets[i]!, rows, columns, rate, decay }];
  });
  const rest = groups.map((group, i) =>
    isLayerMatrix(parameters[i]!) ? { ...group, rate: 0, decay: 0 } : group,
  );
  return { groups: rest, matrices };
}

export interface UpdateOptions {
  /** Default: adamw. */
  optimizer?: Optimizer;
  /** One for each of the layout's parameters. */
  groups: readonly ParameterGroup[];
  adamw?: AdamWOptions;
  /** Type of Muon's matrices between products; default f32. */
  compute?: 'f32' | 'bf16';
}

/**
 * One step of the optimiser, in turn: inputs and output as those of the op `adamw`, to be run into the state itself. Two
 * programs, where one would hold a copy of the state between them.
 */
export async function updatePrograms(
  device: Device,
  layout: ParameterLayout,
  { optimizer = 'adamw', groups, adamw: options = ADAMW, compute }: UpdateOptions,
): Promise<Program[]> {
  const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;
  const inputs = { state: f32(...layout.stateShape), gradient: f32(layout.size), step: f32(5) };
  const divided = optimizer === 'muon' ? divideForMuon(layout, groups) : { groups, matrices: [] };
  const builds: Build<typeof inputs>[] = [
    (graph, v) => ({ state: adamw(graph, v.state, v.gradient, v.step, divided.groups, options) }),
  ];
  if (divided.matrices.length > 0)
    builds.push((graph, v) => ({ state: muon(graph, v.state, v.step, divided.matrices, compute) }));
  using owned = new Owned();
  const programs: Program[] = [];
  for (const build of builds) programs.push(owned.add(await program(device, inputs, build)));
  owned.move();
  return programs;
}
