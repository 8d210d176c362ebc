import { capture, findProgram } from "./host_program.ts";
import { getPackage, type HostPackage, unpackedPrograms } from "./host_package.ts";
import { NestedError } from "./nested_error.ts";
import type { ProgressListener } from "./packages.ts";

/** NASM on this host. */
export interface Nasm {
  /** The folder that has `nasm` and `ndisasm`. */
  folder: string;
  /** What `nasm -v` says, such as `"NASM version 2.16.01"`. */
  version: string;
}

const NASM: HostPackage = { name: "nasm", unpacked: [], why: "the assembler" };

/**
 * Finds NASM: in `PATH`, else the copy unpacked in the cache.
 *
 * @returns Where it is and its version, or `undefined` when there is none.
 */
export async function findNasm(): Promise<Nasm | undefined> {
  const inPath = await findProgram("nasm");
  const folder = inPath?.slice(0, inPath.lastIndexOf("/")) ?? await unpackedPrograms(NASM);
  if (folder === undefined) return undefined;
  const program = `${folder}/nasm`;
  if (await findProgram("ndisasm", [folder]) === undefined) return undefined;
  const { code, stdout } = await capture(program, ["-v"]);
  return code === 0 ? { folder, version: stdout.split(" compiled")[0].trim() } : undefined;
}

/**
 * Finds NASM or gets it: installed with apt-get where we are root, so that editors and a plain `deno test` find it too;
 * otherwise unpacked into the cache, which needs no root.
 *
 * @param onProgress Is told what is installed.
 * @param signal Ends the installation.
 * @throws {NestedError} When it cannot be had.
 */
export async function requireNasm(
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<Nasm> {
  const found = await findNasm();
  if (found !== undefined) return found;
  const isThere = async () => await findNasm() !== undefined;
  await getPackage(NASM, isThere, onProgress, signal);
  const nasm = await findNasm();
  if (nasm === undefined) {
    throw new NestedError("NASM was installed but does not run: try `nasm -v` by hand");
  }
  return nasm;
}
