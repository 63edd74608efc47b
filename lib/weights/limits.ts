/** Of an answer before it is given. */
export const MAX_REFINEMENTS = 8;
