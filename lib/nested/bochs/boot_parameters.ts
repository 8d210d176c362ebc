import { NestedError } from "../nested_error.ts";
import { ADDRESS, SECTOR } from "./boot_sector.ts";

/** Fields of the setup header, which the kernel's image and its parameters share (Linux, Documentation/arch/x86/boot.rst). */
const HEADER = {
  setupSectors: 0x1f1,
  jumpLength: 0x201,
  magic: 0x202,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLinePointer: 0x228,
} as const;
const MAGIC = "HdrS";
const DEFAULT_SETUP_SECTORS = 4;
const LOADER_WITHOUT_NUMBER = 0xff;
const LOADED_HIGH = 1;

/** The memory map in the parameters (Linux, Documentation/arch/x86/zero-page.rst). */
const MAP = { entries: 0x1e8, table: 0x2d0, entrySize: 20 } as const;
const MEMORY_TYPE = { usable: 1, reserved: 2 } as const;

const PAGE = 0x1000;
const MEGABYTE = 2 ** 20;
/** Where the BIOS's own data begin below 640 KiB, and where its ROMs begin. */
const BIOS_DATA = 0x9fc00;
const VIDEO_MEMORY = 0xa0000;
const ROMS = 0xe0000;

/** A kernel as a boot loader puts it into memory. */
export interface LoadedKernel {
  /** What goes to {@linkcode ADDRESS}.parameters: the parameters, and the command line on the page behind them. */
  parameters: Uint8Array<ArrayBuffer>;
  /** What goes to {@linkcode ADDRESS}.kernel. */
  kernel: Uint8Array<ArrayBuffer>;
}

/** The memory map of a Bochs machine. Its BIOS keeps the ACPI tables at the end of memory: the last megabyte is left to them. */
function memoryMap(memory: number): readonly (readonly [number, number, number])[] {
  return [
    [0, BIOS_DATA, MEMORY_TYPE.usable],
    [BIOS_DATA, VIDEO_MEMORY, MEMORY_TYPE.reserved],
    [ROMS, MEGABYTE, MEMORY_TYPE.reserved],
    [MEGABYTE, memory - MEGABYTE, MEMORY_TYPE.usable],
    [memory - MEGABYTE, memory, MEMORY_TYPE.reserved],
  ];
}

/**
 * Takes a kernel's bzImage apart as a boot loader does, and fills in its parameters.
 *
 * @param image the bzImage
 * @param commandLine what the kernel is told
 * @param memory bytes of the machine's memory
 * @param initramfs bytes of its first root file system
 * @throws {NestedError} when it is no bzImage
 */
export function loadKernel(
  image: Uint8Array,
  commandLine: string,
  memory: number,
  initramfs: number,
): LoadedKernel {
  const magic = new TextDecoder("latin1").decode(image.subarray(HEADER.magic, HEADER.magic + 4));
  if (magic !== MAGIC) throw new NestedError("The kernel's package has no bzImage of Linux");
  const parameters = new Uint8Array(2 * PAGE);
  const headerEnd = HEADER.magic + image[HEADER.jumpLength];
  parameters.set(image.subarray(HEADER.setupSectors, headerEnd), HEADER.setupSectors);
  parameters.set(new TextEncoder().encode(`${commandLine}\0`), PAGE);
  const view = new DataView(parameters.buffer);
  view.setUint8(HEADER.typeOfLoader, LOADER_WITHOUT_NUMBER);
  view.setUint8(HEADER.loadFlags, view.getUint8(HEADER.loadFlags) | LOADED_HIGH);
  view.setUint32(HEADER.ramdiskImage, ADDRESS.initramfs, true);
  view.setUint32(HEADER.ramdiskSize, initramfs, true);
  view.setUint32(HEADER.commandLinePointer, ADDRESS.parameters + PAGE, true);
  const map = memoryMap(memory);
  view.setUint8(MAP.entries, map.length);
  for (const [index, [start, end, type]] of map.entries()) {
    const offset = MAP.table + index * MAP.entrySize;
    view.setBigUint64(offset, BigInt(start), true);
    view.setBigUint64(offset + 8, BigInt(end - start), true);
    view.setUint32(offset + 16, type, true);
  }
  const setupSectors = image[HEADER.setupSectors] || DEFAULT_SETUP_SECTORS;
  return { parameters, kernel: image.slice((1 + setupSectors) * SECTOR) };
}
