/** Layouts of data sets, in the order of detection: what has names of its own before what is general. */
export const DATA_FORMATS = [
  'index',
  'coco',
  'coco-panoptic',
  'lvis',
  'cityscapes',
  'ade20k',
  'davis',
  'davis585',
  'hqseg',
  'grabcut',
  'bsds500',
  'berkeley',
  'folder',
] as const;

export type DataFormat = (typeof DATA_FORMATS)[number];
