import { describe, expect, it } from 'vitest';
import { expectedTensors } from '../../lib/weights/expected.js';
import { stripPrefixes, toInternalName, toOfficialName } from '../../lib/weights/names.js';
import { presetConfig } from '../../lib/weights/presets.js';

describe('stripPrefixes', () => {
  it.each([
    ['backbone.pos_embed', 'backbone.pos_embed'],
    ['module.backbone.pos_embed', 'backbone.pos_embed'],
    ['module._orig_mod.model.image_encoder.pos_embed', 'image_encoder.pos_embed'],
    ['student.neck.no_mask_embed.weight', 'neck.no_mask_embed.weight'],
    ['teacher.backbone.pos_embed', 'teacher.backbone.pos_embed'],
    ['module.head.weight', 'module.head.weight'],
    ['backbones.pos_embed', 'backbones.pos_embed'],
    ['module.', 'module.'],
  ])('%s → %s', (name, stripped) => {
    expect(stripPrefixes(name)).toBe(stripped);
  });
});

describe('the name map', () => {
  const sam = expectedTensors(presetConfig('sam-tiny'), ['prompt', 'decoder']).map(({ name }) => name);
  const hrsam = expectedTensors(presetConfig('hrsam-b'), ['prompt', 'decoder']).map(({ name }) => name);

  it("takes SAM's prompt encoder and decoder to HRSAM's names, all of them", () => {
    expect(sam.map(toInternalName).sort()).toEqual([...hrsam].sort());
  });

  it('goes back', () => {
    expect(sam.map((name) => toOfficialName(toInternalName(name), 'sam'))).toEqual(sam);
    expect(hrsam.map((name) => toOfficialName(toInternalName(name), 'hrsam'))).toEqual(hrsam);
  });

  it('leaves encoders alone', () => {
    for (const name of ['image_encoder.neck.0.weight', 'backbone.pos_embed']) {
      expect(toInternalName(name)).toBe(name);
      expect(toOfficialName(name, 'sam')).toBe(name);
    }
  });
});
