/** The authors' keywords of a model that is trained in a second. */
export const tinyModel = {
  backbone: {
    window_size: 4,
    state_dim: 4,
    depth: 2,
    embed_dim: 32,
    num_heads: 2,
    final_embed_dim: 32,
    out_indices: [1],
  },
  neck: { embed_dim: 32, image_embed_size: [4, 4], input_image_size: [64, 64] },
  decode_head: { in_dim: 32, attn_cfg: { depth: 2, mlp_dim: 64, num_heads: 2 }, iou_head_hidden_dim: 32 },
  test_cfg: { target_size: 64 },
};

/** A short fine-tuning of it. */
export const tinyFinetuning = {
  task: 'finetune',
  model: tinyModel,
  size: 64,
  batch: 2,
  steps: 6,
  warmup: 1,
  seed: 3,
  clicks: { max: 3, steps: 2, objects: 2 },
};

/** A distillation of `random:hrsam-tiny`. */
export const tinyDistillation = {
  task: 'distill',
  model: { backbone: { ...tinyModel.backbone, embed_dim: 48, num_heads: 3, final_embed_dim: 64 } },
  size: 64,
  batch: 2,
  steps: 8,
  warmup: 1,
  dropPath: 0,
};

/** Pictures as they are. */
export const asTheyAre = { crop: 0, flip: 0, colour: 0, grey: 0, blur: 0, noise: 0, paste: 0 };
