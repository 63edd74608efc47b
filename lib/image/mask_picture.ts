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

/** What counts as inside a mask: from half of white on, or from 1 where nothing is brighter than 1. */
export function inside({ data }: MaskPicture): (value: number) => boolean {
  return data.some((value) => value > 1) ? (value) => value > 127 : (value) => value > 0;
}
