import { cacheFolder } from "./cache_folder.ts";
import { findProgram, sharedLibraries } from "./host_program.ts";
import { getPackage, type HostPackage, unpackedPrograms } from "./host_package.ts";
import type { FileIn } from "./job_disk.ts";
import { NestedError } from "./nested_error.ts";
import type { ProgressListener } from "./packages.ts";

const BINUTILS: HostPackage = {
  name: "binutils",
  unpacked: ["binutils-x86-64-linux-gnu", "libbinutils", "libctf-nobfd0"],
  why: "reads debug information of ELF files",
};

/** Those that failure pages use. */
const PROGRAMS: readonly string[] = ["readelf", "addr2line", "c++filt"];

/**
 * Finds GNU binutils: in `PATH`, else the copy unpacked in the cache.
 *
 * @returns The folder of their programs, or `undefined` when one is missing.
 */
export async function findBinutils(): Promise<string | undefined> {
  const unpacked = await unpackedPrograms(BINUTILS);
  const folders = unpacked === undefined ? [] : [unpacked];
  const found = await Promise.all(PROGRAMS.map((name) => findProgram(name, folders)));
  return found.includes(undefined) ? undefined : found[0]!.replace(/\/[^/]+$/, "");
}

/**
 * Finds GNU binutils or gets them, as NASM is got.
 *
 * @param onProgress Is told what is installed.
 * @param signal Ends the installation.
 * @throws {NestedError} When they cannot be had.
 */
export async function requireBinutils(
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<string> {
  const found = await findBinutils();
  if (found !== undefined) return found;
  const isThere = async () => await findBinutils() !== undefined;
  await getPackage(BINUTILS, isThere, onProgress, signal);
  const folder = await findBinutils();
  if (folder === undefined) {
    throw new NestedError("binutils were installed but are not found: try `readelf -v` by hand");
  }
  return folder;
}

/**
 * The files by which a command inside a machine has GNU binutils, too; none where this host has none. They are the run's,
 * and not the image's: they lie on its disk, and are read when a page needs them.
 */
export async function binutilsFiles(): Promise<FileIn[]> {
  const folder = await findBinutils();
  if (folder === undefined) return [];
  if (folder === await unpackedPrograms(BINUTILS)) {
    return [{ host: `${cacheFolder()}/${BINUTILS.name}` }];
  }
  const programs = PROGRAMS.map((name) => ({
    host: `${folder}/${name}`,
    guest: `/usr/bin/${name}`,
  }));
  const libraries = new Set<string>();
  for (const { host } of programs) {
    for (const library of await sharedLibraries(host)) libraries.add(library);
  }
  // Those of Deno are in every image.
  for (const library of await sharedLibraries(Deno.execPath())) libraries.delete(library);
  const files = [...programs, ...[...libraries].map((path) => ({ host: path, guest: path }))];
  return await Promise.all(
    files.map(async ({ host, guest }) => ({ host: await Deno.realPath(host), guest })),
  );
}
