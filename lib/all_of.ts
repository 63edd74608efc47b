/**
 * All results, once everything has ended: nothing goes on in the background when one fails.
 * @param release what becomes of the other results when one fails
 * @throws the first failure
 */
export async function allOf<T>(promises: readonly Promise<T>[], release?: (value: T) => void): Promise<T[]> {
  const ended = await Promise.allSettled(promises);
  const values = ended.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  const failed = ended.find((end) => end.status === 'rejected');
  if (!failed) return values;
  if (release) values.forEach(release);
  throw failed.reason;
}

/**
 * Workers side by side, until all of them have ended. `failed` tells whether any has failed: the others then begin nothing more.
 * @throws a failure
 */
export async function workTogether(
  workers: number,
  work: (worker: number, failed: () => boolean) => Promise<void>,
): Promise<void> {
  let broken = false;
  const failed = () => broken;
  const watched = async (worker: number) => {
    try {
      await work(worker, failed);
    } catch (error) {
      broken = true;
      throw error;
    }
  };
  await allOf(Array.from({ length: workers }, (_, worker) => watched(worker)));
}
