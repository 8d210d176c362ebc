/**
 * A lock between processes on a file, which the kernel releases when its holder dies.
 *
 * @example
 * ```ts
 * import { FileLock } from "@vmexit/vmexit/nested";
 *
 * const path = await Deno.makeTempFile();
 * {
 *   using _lock = await FileLock.exclusive(path);
 * }
 * await Deno.remove(path);
 * ```
 */
export class FileLock implements Disposable {
  #file?: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Waits until nobody else holds the lock, or the signal is aborted, then holds it alone. */
  static async exclusive(path: string, signal?: AbortSignal): Promise<FileLock> {
    return new FileLock(await locked(path, true, signal));
  }

  /** Waits until nobody holds the lock alone, or the signal is aborted, then holds it among others. */
  static async shared(path: string, signal?: AbortSignal): Promise<FileLock> {
    return new FileLock(await locked(path, false, signal));
  }

  /** Holds the lock alone if nobody else has it now; `undefined` if somebody has, or the file is gone. */
  static async tryExclusive(path: string): Promise<FileLock | undefined> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(path, { read: true, write: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      if (error instanceof Deno.errors.PermissionDenied) return undefined;
      throw error;
    }
    if (await file.tryLock(true)) return new FileLock(file);
    file.close();
    return undefined;
  }

  /** Lets the lock go; the second time does nothing. */
  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

const POLL_MILLISECONDS = 50;

/** Asks again and again, because a wait in the kernel could not be ended by the signal. */
async function locked(
  path: string,
  exclusive: boolean,
  signal?: AbortSignal,
): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { read: true, write: true, create: true });
  try {
    while (!await file.tryLock(exclusive)) {
      signal?.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}
