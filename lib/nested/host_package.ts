import { cacheFolder, withCache } from "./cache_folder.ts";
import { FileLock } from "./file_lock.ts";
import { installPackages, type ProgressListener, unpackPackages } from "./packages.ts";
import { makeSealedFolder, openSealedFolder } from "./sealed_folder.ts";

/** Programs for this host that come in a package. */
export interface HostPackage {
  /** The package, and the name of its folder in the cache. */
  readonly name: string;
  /** What its programs need besides, where it is unpacked and not installed. */
  readonly unpacked: readonly string[];
  /** What it is for, in a few words. */
  readonly why: string;
}

/** Where a package's programs are that were unpacked; undefined where they were not, or are damaged. */
export async function unpackedPrograms({ name }: HostPackage): Promise<string | undefined> {
  const folder = `${cacheFolder()}/${name}`;
  return await openSealedFolder(folder) === undefined ? undefined : `${folder}/usr/bin`;
}

/**
 * Gets a package: installed with apt-get where we are root, so that editors and a plain `deno test` find its programs,
 * too; otherwise unpacked into the cache, which needs no root.
 *
 * @param isThere Whether somebody else has got it meanwhile.
 * @param onProgress Is told what is installed.
 * @param signal Ends the installation.
 * @throws {NestedError} When it cannot be had.
 */
export async function getPackage(
  { name, unpacked, why }: HostPackage,
  isThere: () => Promise<boolean>,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  if (Deno.uid() === 0) return await installPackages([name], why, onProgress, signal);
  await withCache(async (cache) => {
    using _lock = await FileLock.exclusive(`${cache}/${name}.lock`, signal);
    if (await isThere()) return;
    await makeSealedFolder(`${cache}/${name}`, async (temporary) => {
      const find = () => Promise.resolve([name, ...unpacked]);
      const packages = await unpackPackages(find, temporary, name, onProgress, signal);
      return { package: packages.join(" ") };
    });
  });
}
