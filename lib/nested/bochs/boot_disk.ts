import { assemble } from "../assemble.ts";
import type { ImageMaking } from "../nested_machine.ts";
import { EMULATED_KERNEL_OPTIONS } from "../../kvm/remote/qemu_arguments.ts";
import { NestedError } from "../nested_error.ts";
import { loadKernel } from "./boot_parameters.ts";
import { BOOT_SECTOR, SECTOR } from "./boot_sector.ts";

/** The disk that the machine boots from, in the run's folder. Once it has booted, it does not read it again. */
export const BOOT_DISK = "boot.img";

/** The same for all, because a restored machine must find the disk as big as it was. The file is sparse. */
const BOOT_DISK_SIZE = 512 * 2 ** 20;

function sectors(bytes: Uint8Array): number {
  return Math.ceil(bytes.length / SECTOR);
}

/** Makes the disk as an empty file, for a machine that has booted. */
export async function createEmptyBootDisk(run: string): Promise<void> {
  using file = await Deno.create(`${run}/${BOOT_DISK}`);
  await file.truncate(BOOT_DISK_SIZE);
}

/**
 * Makes the disk with its boot sector, kernel and first root file system.
 *
 * @param run the run's folder
 * @param making what the image is made with
 * @param memory bytes of the machine's memory
 * @throws {NestedError} when the kernel is none, or does not fit
 */
export async function createBootDisk(
  run: string,
  making: ImageMaking,
  memory: number,
): Promise<void> {
  const { parts, initramfs, nasm } = making;
  const image = await Deno.readFile(parts.vmlinuz);
  const { parameters, kernel } = loadKernel(
    image,
    EMULATED_KERNEL_OPTIONS,
    memory,
    initramfs.length,
  );
  const bootSector = await assemble(nasm, "boot_sector", BOOT_SECTOR, {
    PARAMETERS_SECTORS: sectors(parameters),
    KERNEL_SECTORS: sectors(kernel),
    INITRAMFS_SECTORS: sectors(initramfs),
  });
  await createEmptyBootDisk(run);
  using file = await Deno.open(`${run}/${BOOT_DISK}`, { write: true });
  let sector = 0;
  for (const piece of [bootSector, parameters, kernel, initramfs]) {
    await file.seek(sector * SECTOR, Deno.SeekMode.Start);
    for (let written = 0; written < piece.length;) {
      written += await file.write(piece.subarray(written));
    }
    sector += sectors(piece);
  }
  if (sector * SECTOR > BOOT_DISK_SIZE) {
    throw new NestedError(
      `The kernel and its root need ${sector * SECTOR} bytes, more than the boot disk has`,
    );
  }
}
