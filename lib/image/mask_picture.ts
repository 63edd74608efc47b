/** Values of a picture, 8 or 16 bits, row by row. */
export interface MaskPicture {
  data: Uint8Array | Uint16Array;
  channels: number;
}

/** A picture's brightest colour channel at pixel i, which of a mask is the mask. */
export const brightest = ({ data, channels }: MaskPicture): ((i: number) => number) =>
  channels === 1
    ? (i) => data[i]!
    : (i) => {
        let most = 0;
        for (let c = 0; c < Math.min(channels, 3); c++) most = Math.max(most, data[i * channels + c]!);
        return most;
      };

/** What is white in a mask: the most of its bits, or 255 or 1 where nothing is brighter than that. */
export function white({ data }: MaskPicture): 1 | 255 | 65535 {
  if (data instanceof Uint16Array && data.some((value) => value > 255)) return 65535;
  return data.some((value) => value > 1) ? 255 : 1;
}

/** What counts as inside a mask: from half of white on. */
export function inside(picture: MaskPicture): (value: number) => boolean {
  const half = white(picture) / 2;
  return (value) => value > half;
}
