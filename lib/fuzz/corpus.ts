import { createHash } from "node:crypto";
import { join } from "node:path";
import { localPath } from "../guest/call_site.ts";
import { UNFINISHED_ENDING, writeWhole } from "../guest/write_whole.ts";

/** An input in a folder. */
export interface CorpusFile {
  /** Its path. */
  readonly path: string;
  /** Its bytes. */
  readonly input: Uint8Array<ArrayBuffer>;
}

/** As much of the SHA-256 as tells inputs apart. */
const NAME_DIGITS = 16;
/** The folder of inputs that have failed, in the corpus. */
const FAILURES = "failures";

/** The inputs of a target that are kept from run to run: a file for each, named by its content. */
export class Corpus {
  readonly #folder: string | undefined;

  /**
   * @param folder Where they are; undefined for a corpus that is not kept.
   * @throws {TypeError} When it is neither a path nor a `file:` URL.
   */
  constructor(folder: string | URL | undefined) {
    this.#folder = folder === undefined ? undefined : localPath(folder, "", "a corpus");
  }

  /**
   * The inputs, those that have failed among them, by name.
   *
   * @throws {Error} When they cannot be read. A folder that is not there has none.
   */
  files(): CorpusFile[] {
    if (this.#folder === undefined) return [];
    return [this.#folder, join(this.#folder, FAILURES)].flatMap(filesOf);
  }

  /**
   * Sees to it that inputs can be kept.
   *
   * @throws {Error} When the folder cannot be made.
   */
  prepare(): void {
    if (this.#folder === undefined) return;
    try {
      Deno.mkdirSync(join(this.#folder, FAILURES), { recursive: true });
    } catch (cause) {
      throw new Error(
        `Cannot keep inputs in ${this.#folder}: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  /**
   * Keeps an input.
   *
   * @returns The path of its file; undefined of a corpus that is not kept.
   * @throws {Error} When it cannot be written.
   */
  keep(input: Uint8Array, isFailure: boolean): string | undefined {
    if (this.#folder === undefined) return undefined;
    const name = createHash("sha256").update(input).digest("hex").slice(0, NAME_DIGITS);
    const path = join(this.#folder, isFailure ? FAILURES : ".", name);
    try {
      writeWhole(path, input);
    } catch (cause) {
      throw new Error(`Cannot keep an input as ${path}: ${(cause as Error).message}`, { cause });
    }
    return path;
  }
}

function filesOf(folder: string): CorpusFile[] {
  try {
    return [...Deno.readDirSync(folder)]
      .filter(({ isFile, name }) => isFile && !name.endsWith(UNFINISHED_ENDING))
      .map(({ name }) => join(folder, name)).sort()
      .map((path) => ({ path, input: Deno.readFileSync(path) }));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new Error(`Cannot read the inputs in ${folder}: ${(cause as Error).message}`, { cause });
  }
}
