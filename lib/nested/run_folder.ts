import { FileLock } from "./file_lock.ts";

/** The file that the machine's console is written to, in the run's folder. */
export const CONSOLE_LOG = "console.log";

/** The disk with the command and its files, in the run's folder. */
export const JOB_DISK = "job.img";

const PREFIX = "vmexit-run-";
/** Of a folder that is being made, whose lock is not held yet. */
const UNFINISHED_PREFIX = "vmexit-making-run-";
/** Making one takes milliseconds: of this age it belongs to a process that was killed meanwhile. */
const UNFINISHED_MILLISECONDS = 3_600_000;
const LOCK = "lock";
const CONSOLE_TAIL = 4096;

function temporaryFolder(): string {
  return Deno.env.get("TMPDIR") ?? "/tmp";
}

/** Removes the folders of runs that were killed: nobody holds their lock any more. */
async function sweep(): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(temporaryFolder())) {
    if (!isDirectory) continue;
    const folder = `${temporaryFolder()}/${name}`;
    if (name.startsWith(UNFINISHED_PREFIX)) {
      const made = (await Deno.stat(folder).catch(() => undefined))?.mtime?.getTime() ?? Infinity;
      if (made < Date.now() - UNFINISHED_MILLISECONDS) await removeFolder(folder);
    } else if (name.startsWith(PREFIX)) {
      using lock = await FileLock.tryExclusive(`${folder}/${LOCK}`);
      if (lock !== undefined) await removeFolder(folder);
    }
  }
}

/** Another user's stays where it is. */
async function removeFolder(folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(() => {});
}

/** A temporary folder that belongs to one run, is removed when disposed, and by a later run if this one is killed. */
export class RunFolder implements AsyncDisposable {
  /** Its absolute path. */
  readonly path: string;
  readonly #lock: FileLock;

  private constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Makes the folder, and removes those that dead runs left. */
  static async create(): Promise<RunFolder> {
    await sweep();
    const unfinished = await Deno.makeTempDir({ prefix: UNFINISHED_PREFIX });
    const lock = await FileLock.exclusive(`${unfinished}/${LOCK}`);
    const path = unfinished.replace(UNFINISHED_PREFIX, PREFIX);
    await Deno.rename(unfinished, path);
    return new RunFolder(path, lock);
  }

  /** The end of the machine's console log; empty when there is none yet. */
  async consoleTail(): Promise<string> {
    try {
      const bytes = await Deno.readFile(`${this.path}/${CONSOLE_LOG}`);
      const text = new TextDecoder().decode(
        bytes.filter((byte) => byte !== 0).subarray(-CONSOLE_TAIL),
      );
      return text.replaceAll("\r", "").trim();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }

  /** Removes the folder and all in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await removeFolder(this.path);
    this.#lock[Symbol.dispose]();
  }
}
