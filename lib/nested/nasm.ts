import { cacheFolder, withCache } from "./cache_folder.ts";
import { capture, findProgram } from "./host_program.ts";
import { FileLock } from "./file_lock.ts";
import { NestedError } from "./nested_error.ts";
import { installPackages, type ProgressListener, unpackPackages } from "./packages.ts";
import { makeSealedFolder, openSealedFolder } from "./sealed_folder.ts";

/** NASM on this host. */
export interface Nasm {
  /** The folder that has `nasm` and `ndisasm`. */
  folder: string;
  /** What `nasm -v` says, such as `"NASM version 2.16.01"`. */
  version: string;
}

const PACKAGE = "nasm";

function unpackedFolder(): string {
  return `${cacheFolder()}/nasm`;
}

/**
 * Finds NASM: in `PATH`, else the copy unpacked in the cache.
 *
 * @returns Where it is and its version, or `undefined` when there is none.
 */
export async function findNasm(): Promise<Nasm | undefined> {
  const inPath = await findProgram("nasm");
  const unpacked = `${unpackedFolder()}/usr/bin/nasm`;
  const program = inPath ?? (await openSealedFolder(unpackedFolder()) ? unpacked : undefined);
  if (program === undefined) return undefined;
  const folder = program.slice(0, program.lastIndexOf("/"));
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
  if (Deno.uid() === 0) {
    await installPackages([PACKAGE], "the assembler", onProgress, signal);
  } else {
    await withCache(async (cache) => {
      using _lock = await FileLock.exclusive(`${cache}/nasm.lock`, signal);
      if (await findNasm() !== undefined) return;
      await makeSealedFolder(unpackedFolder(), async (temporary) => {
        const find = () => Promise.resolve([PACKAGE]);
        await unpackPackages(find, temporary, "NASM", onProgress, signal);
        return { package: PACKAGE };
      });
    });
  }
  const nasm = await findNasm();
  if (nasm === undefined) {
    throw new NestedError("NASM was installed but does not run: try `nasm -v` by hand");
  }
  return nasm;
}
