import { basename, dirname, join } from "node:path";

/**
 * A file that is written whole or not at all. It is begun beside its place when it is asked for, so that what stands in
 * its way is told before the work and not behind it.
 */
export class OutputFile implements Disposable {
  /** Where it is to be. */
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #unfinished: string;
  #isDone = false;

  /** @throws {Error} When the file cannot be made there: what it says names the path. */
  constructor(path: string) {
    this.path = path;
    try {
      if (isNoFile(path)) throw new Error("it is a folder, or a device");
      const name = `.${basename(path)}-${crypto.randomUUID()}`;
      this.#unfinished = join(dirname(path), name);
      this.#file = Deno.openSync(this.#unfinished, { write: true, createNew: true });
    } catch (error) {
      throw cannotWrite(path, error);
    }
  }

  /** @throws {Error} When it cannot be written whole; then what was there before is there still. */
  write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
      // A full disk may say so only now.
      this.#file.syncSync();
      Deno.renameSync(this.#unfinished, this.path);
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
    this.#isDone = true;
  }

  /** Takes away what was not written to its end. */
  [Symbol.dispose](): void {
    this.#file.close();
    if (!this.#isDone) Deno.removeSync(this.#unfinished);
  }
}

/** What is there, and no file, is not to be replaced by one. */
function isNoFile(path: string): boolean {
  try {
    return !Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function cannotWrite(path: string, cause: unknown): OutputError {
  return new OutputError(
    `Cannot write ${path}: ${(cause as Error).message}. What was there before is as it was.`,
    { cause },
  );
}

/** A file could not be written. */
export class OutputError extends Error {
  /** The name that a stack trace shows. */
  override name = "OutputError";
}
