import { capture, findProgram } from "./host_program.ts";
import { NestedError } from "./nested_error.ts";
import { JOB_DISK } from "./run_folder.ts";
import { isAbsolute, join, relative } from "node:path";

/** A file, folder or link on the disk that a run's command comes with. */
interface DiskEntry {
  /** Its absolute path on the disk. */
  path: string;
  /** A file's source on the host, or a symbolic link's target; a folder has neither. */
  content?: { file: string } | { link: string };
}

/** The same for all runs, because a resumed machine keeps the size that it saw at the snapshot. The file is sparse. */
const DISK_SIZE = 16 * 1024 ** 3;

/** Makes the run's disk as an empty file, so that the machine can start before it is known what it runs. */
export async function createJobDisk(run: string): Promise<void> {
  using file = await Deno.create(`${run}/${JOB_DISK}`);
  await file.truncate(DISK_SIZE);
}

/** A word of debugfs's command language (ss(3): quotes are doubled within quotes). */
function word(text: string): string {
  if (text.includes("\n")) {
    throw new NestedError(
      `Cannot take ${JSON.stringify(text)} into the nested machine: its name has a line break`,
    );
  }
  return `"${text.replaceAll('"', '""')}"`;
}

/**
 * The commands that make debugfs write entries to a disk.
 *
 * @param entries In any order; folders on the way to an entry are made.
 */
export function debugfsCommands(entries: readonly DiskEntry[]): string[] {
  const made = new Set([""]);
  const commands: string[] = [];
  let current = "";
  const enter = (folder: string): void => {
    if (!made.has(folder)) {
      const end = folder.lastIndexOf("/");
      enter(folder.slice(0, end));
      commands.push(`mkdir ${word(folder.slice(end + 1))}`);
      made.add(folder);
    }
    if (folder === current) return;
    commands.push(`cd ${word(folder === "" ? "/" : folder)}`);
    current = folder;
  };
  for (const { path, content } of entries) {
    if (content === undefined) {
      enter(path);
      continue;
    }
    const end = path.lastIndexOf("/");
    enter(path.slice(0, end));
    const name = word(path.slice(end + 1));
    commands.push(
      "file" in content
        ? `write ${word(content.file)} ${name}`
        : `symlink ${name} ${word(content.link)}`,
    );
  }
  return commands;
}

const FILES_AGE_SECONDS = 60;

/** What debugfs says of sources that cannot be read; the command inside may well do without them. */
const UNREADABLE = /No such file or directory|Permission denied/;

async function e2fsProgram(name: string): Promise<string> {
  const program = await findProgram(name);
  if (program !== undefined) return program;
  throw new NestedError(`${name} is missing: install the package e2fsprogs`);
}

/**
 * Formats a run's disk and writes its files. No root is needed.
 *
 * @param run The run's folder.
 * @param entries The files; those that cannot be read are left out.
 * @param signal Ends it.
 * @throws {NestedError} When the host's disk is full or e2fsprogs is missing.
 */
export async function fillJobDisk(
  run: string,
  entries: readonly DiskEntry[],
  signal?: AbortSignal,
): Promise<void> {
  const disk = `${run}/${JOB_DISK}`;
  const format = await capture(await e2fsProgram("mke2fs"), [
    ...["-q", "-F", "-t", "ext4", "-m", "0"],
    ...["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"],
    disk,
  ], { signal });
  if (format.code !== 0) throw new NestedError(`mke2fs failed: ${format.stderr.trim()}`);
  const list = `${run}/debugfs.commands`;
  await Deno.writeTextFile(list, debugfsCommands(entries).map((line) => `${line}\n`).join(""));
  const write = await capture(await e2fsProgram("debugfs"), ["-w", "-f", list, disk], {
    signal,
    // Files get this time, not their own: older than the run, so that what is new can be told from them.
    env: { E2FSPROGS_FAKE_TIME: String(Math.floor(Date.now() / 1000) - FILES_AGE_SECONDS) },
  });
  const failures = write.stderr.split("\n").filter((line) =>
    line.trim() !== "" && !line.startsWith("debugfs ") && !UNREADABLE.test(line)
  );
  if (write.code !== 0 || failures.length > 0) {
    throw new NestedError(
      `Cannot put the files on the nested machine's disk (is ${run} on a full disk?): ${
        failures.slice(0, 3).join("; ")
      }`,
    );
  }
}

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
 * @param inputs Files and folders; one that does not exist is passed over.
 * @throws {NestedError} When a path is not absolute.
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
