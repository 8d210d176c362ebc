/**
 * Waits for a promise, but not longer than a number of seconds.
 *
 * @param seconds the limit
 * @param promise what is waited for
 * @param late makes the error that is thrown when the time is over
 */
export async function within<T>(
  seconds: number,
  promise: Promise<T>,
  late: () => Promise<Error>,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => late().then(reject, reject), seconds * 1000);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
