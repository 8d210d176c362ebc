import { Disk } from "@vmexit/vmexit/devices";
import { cpio } from "../../lib/nested/cpio.ts";
import { firmwareFile } from "./firmware_file.ts";

const SECTOR = 512;
/** Whole cylinders as BIOSes count them, so that none of the disk is beyond their end. */
const CYLINDER = 16 * 63;
/** Where the partition begins: behind the boot sector and GRUB's core image. */
const PARTITION = CYLINDER;

/** The partition table of the first sector: where it is, and what an entry has in it. */
const TABLE = { OFFSET: 446, SIZE: 64, TYPE: 4, FIRST: 8, COUNT: 12 } as const;
const ACTIVE = 0x80;
const LINUX_PARTITION = 0x83;

/**
 * A disk that GRUB boots from: its boot sector, its core image, and a partition with an archive that it reads as a file
 * system.
 *
 * @param configuration Commands of GRUB's, for `grub.cfg`.
 * @param files By their paths.
 */
export async function grubDisk(
  configuration: string,
  files: Readonly<Record<string, Uint8Array>>,
): Promise<Disk> {
  const archive = cpio([
    { path: "grub" },
    { path: "grub/grub.cfg", content: new TextEncoder().encode(configuration) },
    ...Object.entries(files).map(([path, content]) => ({ path, content })),
  ]);
  const core = await firmwareFile("grub-core.img");
  if (core.length > (PARTITION - 1) * SECTOR) throw new Error("GRUB's core image is too large");
  const cylinders = Math.ceil(archive.length / SECTOR / CYLINDER);
  const disk = new Uint8Array((PARTITION + cylinders * CYLINDER) * SECTOR);
  disk.set(await firmwareFile("grub-boot.img"));
  disk.set(core, SECTOR);
  disk.set(archive, PARTITION * SECTOR);
  // GRUB's boot sector has code for floppies in the table's place.
  disk.fill(0, TABLE.OFFSET, TABLE.OFFSET + TABLE.SIZE);
  const entry = new DataView(disk.buffer, TABLE.OFFSET);
  entry.setUint8(0, ACTIVE);
  entry.setUint8(TABLE.TYPE, LINUX_PARTITION);
  entry.setUint32(TABLE.FIRST, PARTITION, true);
  entry.setUint32(TABLE.COUNT, cylinders * CYLINDER, true);
  return new Disk(disk);
}
