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

  /** Waits until nobody else holds the lock, then holds it alone. */
  static async exclusive(path: string): Promise<FileLock> {
    const file = await open(path);
    await file.lock(true);
    return new FileLock(file);
  }

  /** Waits until nobody holds the lock alone, then holds it among others. */
  static async shared(path: string): Promise<FileLock> {
    const file = await open(path);
    await file.lock(false);
    return new FileLock(file);
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

async function open(path: string): Promise<Deno.FsFile> {
  return await Deno.open(path, { read: true, write: true, create: true });
}
