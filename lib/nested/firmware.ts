import { cacheFolder, withCache } from "./cache_folder.ts";
import { FileLock } from "./file_lock.ts";
import { type ProgressListener, unpackPackages } from "./packages.ts";
import { makeSealedFolder, openSealedFolder } from "./sealed_folder.ts";

const PACKAGES: readonly string[] = ["seabios", "ovmf"];

/** The files that are kept, and where the packages of Debian and Ubuntu have them. */
const FILES: Readonly<Record<FirmwareFile, string>> = {
  "bios.bin": "usr/share/seabios/bios.bin",
  "bios-256k.bin": "usr/share/seabios/bios-256k.bin",
  "vgabios.bin": "usr/share/seabios/vgabios-isavga.bin",
  "OVMF.fd": "usr/share/ovmf/OVMF.fd",
};

/** Firmware that others wrote: SeaBIOS in its two sizes, its video BIOS for a plain VGA, and OVMF. */
export type FirmwareFile = "bios.bin" | "bios-256k.bin" | "vgabios.bin" | "OVMF.fd";

function firmwareFolder(): string {
  return `${cacheFolder()}/firmware-1`;
}

/**
 * Finds a file of the firmware in the cache.
 *
 * @returns Its path, or `undefined` when it has not been fetched ({@linkcode requireFirmware}), or is damaged.
 */
export async function findFirmware(file: FirmwareFile): Promise<string | undefined> {
  const folder = firmwareFolder();
  return await openSealedFolder(folder) === undefined ? undefined : `${folder}/${file}`;
}

/**
 * Fetches the firmware into the cache, where it is not there already: from Debian's or Ubuntu's packages, which are
 * unpacked and not installed.
 *
 * @param onProgress Is told what is downloaded.
 * @param signal Ends the download.
 * @throws {NestedError} When the packages cannot be had.
 */
export async function requireFirmware(
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  if (await openSealedFolder(firmwareFolder()) !== undefined) return;
  await withCache(async (cache) => {
    using _lock = await FileLock.exclusive(`${cache}/firmware.lock`, signal);
    if (await openSealedFolder(firmwareFolder()) !== undefined) return;
    await makeSealedFolder(firmwareFolder(), async (folder) => {
      const unpacked = `${folder}/unpacked`;
      await Deno.mkdir(unpacked);
      const find = () => Promise.resolve([...PACKAGES]);
      await unpackPackages(find, unpacked, "SeaBIOS and OVMF", onProgress, signal);
      for (const [name, path] of Object.entries(FILES)) {
        await Deno.copyFile(`${unpacked}/${path}`, `${folder}/${name}`);
      }
      await Deno.remove(unpacked, { recursive: true });
      return { packages: PACKAGES.join(" ") };
    });
  });
}
