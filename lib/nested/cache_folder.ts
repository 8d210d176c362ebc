import { statfs } from "node:fs/promises";
import { cacheFolderOf } from "../kvm/remote/machine_image.ts";
import { NestedError } from "./nested_error.ts";

/** What the system says of folders that cannot be written: closed, read-only, full, or beyond the user's quota. */
const UNWRITABLE: ReadonlySet<string> = new Set([
  "EACCES",
  "EPERM",
  "EROFS",
  "ENOSPC",
  "EDQUOT",
  "ENOTDIR",
]);

/**
 * Where everything that is fetched or built is kept: `$XDG_CACHE_HOME/vmexit`, or `~/.cache/vmexit`.
 *
 * @returns The absolute path; the folder need not exist yet.
 *
 * @example
 * ```ts
 * import { cacheFolder } from "@vmexit/vmexit/nested";
 *
 * console.log(cacheFolder()); // "/home/me/.cache/vmexit"
 * ```
 */
export function cacheFolder(): string {
  return cacheFolderOf((name) => Deno.env.get(name));
}

/**
 * Makes the cache folder and does something with it.
 *
 * @param body What to do.
 * @throws {NestedError} When the system lets nothing be written there.
 * @throws What `body` throws else.
 */
export async function withCache<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = cacheFolder();
  try {
    await Deno.mkdir(folder, { recursive: true });
    return await body(folder);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!UNWRITABLE.has(code)) throw error;
    throw new NestedError(
      `Cannot keep files in ${folder}: ${(error as Error).message}. ` +
        "Make it writable, or set XDG_CACHE_HOME to another folder",
      { cause: error },
    );
  }
}

/** What a machine's kernel and its snapshot take, with room for their making. */
const FREE_SPACE_NEEDED = 1.5e9;
const MEGABYTE = 1e6;

/**
 * Checks, before anything is fetched or made, that there is room for it.
 *
 * @param folder A folder on the disk.
 * @throws {NestedError} When the disk is too full.
 */
export async function requireFreeSpace(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= FREE_SPACE_NEEDED) return;
  throw new NestedError(
    `The disk of ${folder} is too full: the nested machine needs ${
      FREE_SPACE_NEEDED / MEGABYTE
    } MB there, ` +
      `${
        Math.floor(free / MEGABYTE)
      } MB are free. Free some, or set XDG_CACHE_HOME to another disk`,
  );
}
