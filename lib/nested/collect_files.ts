import { isAbsolute, join, relative } from "node:path";
import { NestedError } from "./nested_error.ts";
import type { DiskEntry } from "./job_disk.ts";

/** A file or folder to take into the machine. */
export interface FileIn {
  /** Its absolute path on the host. */
  host: string;
  /** Its absolute path inside; the same unless told. */
  guest?: string;
  /** Paths below a folder for which this answers `true` are left out; it is given the path relative to the folder. */
  exclude?: (path: string) => boolean;
}

/** Where taken-in files lie on the run's disk; below it every path is as inside. */
export const FILES_FOLDER = "/files";

/**
 * Lists all files below the paths given, as they shall lie on the run's disk.
 *
 * @param inputs files and folders; one that does not exist is passed over
 * @throws {NestedError} when a path is not absolute
 */
export async function collectFiles(inputs: readonly FileIn[]): Promise<DiskEntry[]> {
  const entries = new Map<string, DiskEntry>();
  const add = (path: string, content?: DiskEntry["content"]): void => {
    const key = `${FILES_FOLDER}${path}`;
    if (!entries.has(key)) entries.set(key, { path: key, content });
  };
  for (const { host, guest = host, exclude } of inputs) {
    for (const path of [host, guest]) {
      if (!isAbsolute(path)) {
        throw new NestedError(`Cannot take in ${path}: the path is not absolute`);
      }
    }
    const visit = async (path: string, target: string): Promise<void> => {
      const info = await Deno.lstat(path);
      if (info.isSymlink) add(target, { link: await Deno.readLink(path) });
      else if (info.isFile) add(target, { file: path });
      else if (info.isDirectory) {
        add(target);
        for await (const { name } of Deno.readDir(path)) {
          const child = join(path, name);
          if (!exclude?.(relative(host, child))) await visit(child, join(target, name));
        }
      }
    };
    try {
      await visit(host, guest);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      if (error instanceof Deno.errors.PermissionDenied) continue;
      throw error;
    }
  }
  return [...entries.values()];
}
