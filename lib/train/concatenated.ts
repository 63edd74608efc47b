/** Parts of equal length, one after the other. */
export function concatenated(parts: readonly ArrayLike<number>[]): Float32Array {
  const { length } = parts[0]!;
  const all = new Float32Array(parts.length * length);
  parts.forEach((part, i) => {
    all.set(part, i * length);
  });
  return all;
}
