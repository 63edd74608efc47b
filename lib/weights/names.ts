/**
 * Names of tensors. The model is written once, against HRSAM's names: `backbone.*` (or SAM's own encoder,
 * `image_encoder.*`), `neck.*` for the prompt encoder, `decode_head.*` for the mask decoder. Files keep their official names.
 */
const ROOTS = ['backbone', 'neck', 'decode_head', 'image_encoder', 'prompt_encoder', 'mask_decoder'];

/**
 * What wrappers put before a model's names: DataParallel's and DistributedDataParallel's `module.`, torch.compile's
 * `_orig_mod.`, a trainer's `model.`, a distillation's `student.`.
 */
export const WRAPPER_PREFIXES = ['module.', '_orig_mod.', 'model.', 'student.'] as const;

const hasRoot = (name: string): boolean => ROOTS.some((root) => name.startsWith(`${root}.`));

/** The official name inside a name with wrappers' prefixes; any other name as it is. */
export const stripPrefixes = (name: string): string => {
  let rest = name;
  while (!hasRoot(rest)) {
    const prefix = WRAPPER_PREFIXES.find((candidate) => rest.startsWith(candidate));
    if (prefix === undefined) return name;
    rest = rest.slice(prefix.length);
  }
  return rest;
};

/** SAM's name, HRSAM's name; longer ones before those they begin with. */
const SAM_TO_HRSAM = [
  ['prompt_encoder.pe_layer.', 'neck.pos_embed_layer.'],
  ['prompt_encoder.point_embeddings.', 'neck.point_embeds.'],
  ['prompt_encoder.', 'neck.'],
  ['mask_decoder.', 'decode_head.'],
] as const;

/** Names of tables, which single rows are taken from: no layer's matrix. SAM's `point_embeddings` are our `point_embeds`. */
export const TABLE = /_(?:embed|embeds\.\d+|embeddings\.\d+|tokens?)\.weight$/;

/** Whether it is a linear's or convolution's weight, which files may hold in fewer bits. @param name the model's */
export const isReducible = ({ name, shape }: { name: string; shape: readonly number[] }): boolean =>
  shape.length >= 2 && name.endsWith('.weight') && !TABLE.test(name);

/** Not what is computed or drawn once and then never changed: rotary frequencies, the matrix of the position code. */
export const isTrained = ({ name }: { name: string }): boolean =>
  !/\.rope\.freqs$|_gaussian_matrix$/.test(name);

/** The model's name for an official one of either family. */
export const toInternalName = (official: string): string => {
  const entry = SAM_TO_HRSAM.find(([sam]) => official.startsWith(sam));
  return entry ? entry[1] + official.slice(entry[0].length) : official;
};

/** The official name that a checkpoint of the family has for one of the model's. */
export const toOfficialName = (internal: string, family: 'hrsam' | 'sam'): string => {
  if (family === 'hrsam') return internal;
  const entry = SAM_TO_HRSAM.find(([, hrsam]) => internal.startsWith(hrsam));
  return entry ? entry[0] + internal.slice(entry[1].length) : internal;
};
