/** Values of a picture, 8 to 32 bits, row by row. */
export interface MaskPicture {
  data: Uint8Array | Uint16Array | Uint32Array;
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
export function white({ data }: MaskPicture): number {
  if (data.BYTES_PER_ELEMENT > 1 && data.some((value) => value > 255))
    return 2 ** (8 * data.BYTES_PER_ELEMENT) - 1;
  return data.some((value) => value > 1) ? 255 : 1;
}

/** What counts as inside a mask: from half of white on. */
export function inside(picture: MaskPicture): (value: number) => boolean {
  const half = white(picture) / 2;
  return (value) => value > half;
}
