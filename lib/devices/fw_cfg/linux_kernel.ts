import { hex } from "../../x86/hex.ts";
import { LINUX_BY_FIRMWARE } from "../../x86/layout.ts";

/** A Linux kernel for firmware to start. */
export interface LinuxKernel {
  /** The bzImage. */
  readonly kernel: Uint8Array;
  /** Its command line. Default empty. */
  readonly commandLine?: string;
  /** Its initial RAM disk. */
  readonly initrd?: Uint8Array;
}

/** Bytes, and where firmware is to put them. */
interface Placed {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** The setup header of a bzImage (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
const HEADER = {
  SETUP_SECTS: 0x1f1,
  MAGIC: 0x202,
  VERSION: 0x206,
  TYPE_OF_LOADER: 0x210,
  LOADFLAGS: 0x211,
  RAMDISK_IMAGE: 0x218,
  RAMDISK_SIZE: 0x21c,
  HEAP_END_PTR: 0x224,
  CMD_LINE_PTR: 0x228,
  INITRD_ADDR_MAX: 0x22c,
  END: 0x230,
} as const;

/** "HdrS", little-endian. */
const MAGIC = 0x5372_6448;

/** The first protocol with `cmd_line_ptr`: older kernels want to lie elsewhere. */
const OLDEST_VERSION = 0x202;
/** The first protocol with `initrd_addr_max`. */
const INITRD_ADDR_MAX_VERSION = 0x203;
const INITRD_ADDR_MAX_DEFAULT = 0x37ff_ffff;

const LOADFLAGS = { LOADED_HIGH: 0x01, CAN_USE_HEAP: 0x80 } as const;
const LOADER_QEMU = 0xb0;
const SECTOR = 512;
const DEFAULT_SETUP_SECTS = 4;
/** What lies between the command line and the heap's end. */
const HEAP_MARGIN = 0x200;
/** What QEMU keeps free at the end of memory for ACPI tables. */
const ACPI_DATA_SIZE = 0x2_0000;
const PAGE = 0x1000;

/**
 * A bzImage taken apart as QEMU does it for firmware (`x86_load_linux` in hw/i386/x86.c): the real-mode part with its
 * header filled in, the protected-mode part, and where each is to lie.
 *
 * @param memory Where RAM below 4 GiB ends.
 * @throws {TypeError} When it is no bzImage of boot protocol 2.02 or later.
 * @throws {RangeError} When the initial RAM disk does not fit into memory.
 */
export function linuxKernelItems(
  { kernel, commandLine = "", initrd }: LinuxKernel,
  memory: number,
): { kernel: Placed; setup: Placed; commandLine: Placed; initrd: Placed | undefined } {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  if (kernel.length < HEADER.END || view.getUint32(HEADER.MAGIC, true) !== MAGIC) {
    throw new TypeError(`Cannot give fw_cfg the kernel: it has no "HdrS" at ${hex(HEADER.MAGIC)}`);
  }
  const version = view.getUint16(HEADER.VERSION, true);
  const flags = view.getUint8(HEADER.LOADFLAGS);
  if (version < OLDEST_VERSION || (flags & LOADFLAGS.LOADED_HIGH) === 0) {
    throw new TypeError(
      `Cannot give fw_cfg the kernel: it is of boot protocol ${hex(version)} with loadflags ${
        hex(flags)
      }. A bzImage of protocol 2.02 or later is needed`,
    );
  }
  const setupSize = ((view.getUint8(HEADER.SETUP_SECTS) || DEFAULT_SETUP_SECTS) + 1) * SECTOR;
  if (kernel.length <= setupSize) {
    throw new TypeError(
      `Cannot give fw_cfg the kernel: its ${kernel.length} bytes end in the setup, which has ${setupSize} by setup_sects`,
    );
  }
  const { setup: setupAddress, commandLine: lineAddress, kernel: kernelAddress } =
    LINUX_BY_FIRMWARE;
  const setup = kernel.slice(0, setupSize);
  const header = new DataView(setup.buffer);
  header.setUint8(HEADER.TYPE_OF_LOADER, LOADER_QEMU);
  header.setUint8(HEADER.LOADFLAGS, flags | LOADFLAGS.CAN_USE_HEAP);
  header.setUint16(HEADER.HEAP_END_PTR, lineAddress - setupAddress - HEAP_MARGIN, true);
  header.setUint32(HEADER.CMD_LINE_PTR, lineAddress, true);
  let disk: Placed | undefined;
  if (initrd !== undefined) {
    const highest = version >= INITRD_ADDR_MAX_VERSION
      ? view.getUint32(HEADER.INITRD_ADDR_MAX, true)
      : INITRD_ADDR_MAX_DEFAULT;
    disk = { address: initrdAddress(initrd.length, highest, memory), bytes: initrd };
    header.setUint32(HEADER.RAMDISK_IMAGE, disk.address, true);
    header.setUint32(HEADER.RAMDISK_SIZE, initrd.length, true);
  }
  return {
    kernel: { address: kernelAddress, bytes: kernel.subarray(setupSize) },
    setup: { address: setupAddress, bytes: setup },
    commandLine: { address: lineAddress, bytes: new TextEncoder().encode(`${commandLine}\0`) },
    initrd: disk,
  };
}

function initrdAddress(size: number, highest: number, memory: number): number {
  const end = Math.min(highest, memory - ACPI_DATA_SIZE - 1);
  const address = Math.floor((end - size) / PAGE) * PAGE;
  if (address > LINUX_BY_FIRMWARE.kernel) return address;
  throw new RangeError(
    `Cannot give fw_cfg the initrd: its ${size} bytes do not fit into memory of ${memory} bytes`,
  );
}
