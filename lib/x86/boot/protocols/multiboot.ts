import { struct, u16, u32, u64, u8 } from "../../../ffi/struct.ts";
import { TEXT_SCREEN } from "../../layout.ts";
import type { CpuState } from "../cpu_state.ts";
import { kernelEntry } from "./kernel_entry.ts";
import { type KernelSections, placeSections } from "./kernel_sections.ts";
import {
  BootMemory,
  conventionalMemory,
  cString,
  informationRoom,
  type KernelLayout,
  memoryMap,
} from "./memory_map.ts";

/** What EAX has when a kernel was started by a loader of the Multiboot Specification (3.2). */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2bad_b002;

/** The name that kernels are told of their loader. */
export const BOOT_LOADER_NAME = "vmexit";

/** Bits of the information structure's `flags` (Multiboot Specification 0.6.96, 3.3). */
const INFO = {
  MEMORY: 1 << 0,
  BOOT_DEVICE: 1 << 1,
  COMMAND_LINE: 1 << 2,
  MODULES: 1 << 3,
  SECTIONS: 1 << 5,
  MEMORY_MAP: 1 << 6,
  LOADER_NAME: 1 << 9,
  FRAMEBUFFER: 1 << 12,
} as const;

/** `framebuffer_type` of a text screen. */
export const FRAMEBUFFER_EGA_TEXT = 2;

/** The text screen of a PC, as both versions of the specification describe it. */
export const TEXT_MODE = { width: 80, height: 25, bitsOfCell: 16, pitch: 160 } as const;

const multibootInfo = struct("multiboot_info", {
  flags: u32,
  mem_lower: u32,
  mem_upper: u32,
  boot_device: u32,
  cmdline: u32,
  mods_count: u32,
  mods_addr: u32,
  syms_num: u32,
  syms_size: u32,
  syms_addr: u32,
  syms_shndx: u32,
  mmap_length: u32,
  mmap_addr: u32,
  drives_length: u32,
  drives_addr: u32,
  config_table: u32,
  boot_loader_name: u32,
  apm_table: u32,
  vbe_control_info: u32,
  vbe_mode_info: u32,
  vbe_mode: u16,
  vbe_interface_seg: u16,
  vbe_interface_off: u16,
  vbe_interface_len: u16,
  framebuffer_addr: u64,
  framebuffer_pitch: u32,
  framebuffer_width: u32,
  framebuffer_height: u32,
  framebuffer_bpp: u8,
  framebuffer_type: u8,
}, { packed: true });

const moduleEntry = struct("multiboot_mod_list", {
  mod_start: u32,
  mod_end: u32,
  cmdline: u32,
  pad: u32,
});

const mapEntry = struct("multiboot_mmap_entry", { size: u32, addr: u64, len: u64, type: u32 }, {
  packed: true,
});

/** What a kernel was loaded from, as a BIOS and multiboot loaders number it. */
export interface BootDevice {
  /** The BIOS's number of the drive: 0 for the first floppy, 0x80 for the first disk. */
  readonly drive: number;
  /** The partition, from 0 on. Default it is the whole disk. */
  readonly partition?: number;
}

/** What a multiboot kernel is entered with. */
export interface MultibootLayout extends KernelLayout {
  /** Whether the kernel asks about its screen: it is told of a text screen at 0xb8000. Default false. */
  readonly textScreen?: boolean;
  /** The section headers of one that is an ELF file. Default it is told of none. */
  readonly sections?: KernelSections;
  /** What it was loaded from. Default it is not told. */
  readonly bootDevice?: BootDevice;
}

/** A level of partitions that there is not, in `boot_device`. */
const NO_PARTITION = 0xff;

/** `boot_device`: the drive in the highest byte, and up to three levels of partitions. */
function bootDeviceWord({ drive, partition = NO_PARTITION }: BootDevice): number {
  return (drive << 24 | partition << 16 | NO_PARTITION << 8 | NO_PARTITION) >>> 0;
}

/**
 * The state in which a kernel is entered by the Multiboot Specification (0.6.96, 3.2), and the information structure
 * with all that EBX leads to: memory size and map, command line, modules, the loader's name, the section headers of an
 * ELF kernel with its symbols, and a text screen for kernels that ask for one. It is told of the
 * device that it comes from where that is given; of the structure's members it has no drives, ROM configuration, APM and VBE.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When there is no room for all of it below 4 GiB.
 * @example
 * ```ts
 * import { multibootEntry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const ram = [{ gpa: 0, size: 0x20_0000 }];
 * const { registers, writes } = multibootEntry({ entry: 0x10_0000, ram, kernel: [] });
 * assertEquals(registers.rax, 0x2bad_b002n);
 * assertEquals(registers.rbx, BigInt(writes.at(-1)!.gpa));
 * ```
 */
export function multibootEntry(layout: MultibootLayout): CpuState {
  const {
    entry,
    kernel,
    commandLine = "",
    modules = [],
    textScreen = false,
    sections,
    bootDevice,
  } = layout;
  const memory = new BootMemory(layout, kernel);
  const room = informationRoom(layout);
  const text = (what: string, value: string) => memory.put(what, cString(value), room);
  const map = table(
    mapEntry,
    memoryMap(layout).map(({ base, length, type }) => ({
      size: mapEntry.size - u32.size,
      addr: base,
      len: length,
      type,
    })),
  );
  const list = table(
    moduleEntry,
    modules.map(({ bytes, commandLine }, index) => {
      const start = memory.putFile(`module ${index}`, bytes);
      return {
        mod_start: start,
        mod_end: start + bytes.length,
        cmdline: text(`command line of module ${index}`, commandLine),
      };
    }),
  );
  const headers = sections && placeSections(sections, memory);
  const { lower, upper } = conventionalMemory(layout);
  const info = table(multibootInfo, [{
    flags: INFO.MEMORY | INFO.COMMAND_LINE | INFO.MEMORY_MAP | INFO.LOADER_NAME |
      (modules.length > 0 ? INFO.MODULES : 0) | (sections === undefined ? 0 : INFO.SECTIONS) |
      (textScreen ? INFO.FRAMEBUFFER : 0) | (bootDevice === undefined ? 0 : INFO.BOOT_DEVICE),
    mem_lower: lower,
    mem_upper: upper,
    boot_device: bootDevice === undefined ? 0 : bootDeviceWord(bootDevice),
    cmdline: text("command line", commandLine),
    mods_count: modules.length,
    mods_addr: modules.length > 0 ? memory.put("list of modules", list, room) : 0,
    ...headers && {
      syms_num: sections!.count,
      syms_size: sections!.entrySize,
      syms_addr: memory.put("section headers", headers, room),
      syms_shndx: sections!.namesIndex,
    },
    mmap_length: map.length,
    mmap_addr: memory.put("memory map", map, room),
    boot_loader_name: text("loader's name", BOOT_LOADER_NAME),
    ...textScreen && {
      framebuffer_addr: TEXT_SCREEN.start,
      framebuffer_pitch: TEXT_MODE.pitch,
      framebuffer_width: TEXT_MODE.width,
      framebuffer_height: TEXT_MODE.height,
      framebuffer_bpp: TEXT_MODE.bitsOfCell,
      framebuffer_type: FRAMEBUFFER_EGA_TEXT,
    },
  }]);
  const rbx = BigInt(memory.put("multiboot information", info, room));
  return kernelEntry(entry, { rax: BigInt(MULTIBOOT_BOOTLOADER_MAGIC), rbx }, memory.writes);
}

/** Structures one after the other. */
export function table<Value>(
  type: {
    readonly size: number;
    write(view: DataView, offset: number, value: Value): void;
  },
  values: readonly Value[],
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * type.size);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) type.write(view, index * type.size, value);
  return bytes;
}
