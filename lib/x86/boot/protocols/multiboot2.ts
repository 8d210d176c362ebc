import { struct, u16, u32, u64, u8 } from "../../../ffi/struct.ts";
import { TEXT_SCREEN } from "../../layout.ts";
import type { CpuState } from "../cpu_state.ts";
import { kernelEntry } from "./kernel_entry.ts";
import { placeSections } from "./kernel_sections.ts";
import {
  BootMemory,
  conventionalMemory,
  cString,
  informationRoom,
  memoryMap,
} from "./memory_map.ts";
import {
  BOOT_LOADER_NAME,
  FRAMEBUFFER_EGA_TEXT,
  type MultibootLayout,
  table,
  TEXT_MODE,
} from "./multiboot.ts";

/** What EAX has when a kernel was started by a loader of the Multiboot2 Specification (3.3). */
export const MULTIBOOT2_BOOTLOADER_MAGIC = 0x36d7_6289;

/** Types of the tags that a kernel can be given, by their headings in the Multiboot2 Specification (3.6). */
export const MULTIBOOT2_TAG = {
  END: 0,
  COMMAND_LINE: 1,
  LOADER_NAME: 2,
  MODULE: 3,
  BASIC_MEMORY: 4,
  MEMORY_MAP: 6,
  FRAMEBUFFER: 8,
  SECTIONS: 9,
  LOAD_BASE: 21,
} as const;

const TAG_ALIGN = 8;

const tagHeader = struct("multiboot_tag", { type: u32, size: u32 });
const informationHeader = struct("multiboot_info", { total_size: u32, reserved: u32 });
const moduleTag = struct("multiboot_tag_module", { mod_start: u32, mod_end: u32 });
const basicMemoryTag = struct("multiboot_tag_basic_meminfo", { mem_lower: u32, mem_upper: u32 });
const mapTag = struct("multiboot_tag_mmap", { entry_size: u32, entry_version: u32 });
const mapEntry = struct("multiboot_mmap_entry", { addr: u64, len: u64, type: u32, zero: u32 });
const framebufferTag = struct("multiboot_tag_framebuffer_common", {
  framebuffer_addr: u64,
  framebuffer_pitch: u32,
  framebuffer_width: u32,
  framebuffer_height: u32,
  framebuffer_bpp: u8,
  framebuffer_type: u8,
  reserved: u16,
});
const sectionsTag = struct("multiboot_tag_elf_sections", { num: u32, entsize: u32, shndx: u32 });
const loadBaseTag = struct("multiboot_tag_load_base_addr", { load_base_addr: u32 });

/** What a multiboot 2 kernel is entered with. */
export interface Multiboot2Layout extends MultibootLayout {
  /** Where a relocatable kernel was loaded, for the tag that tells it. Default there is no such tag. */
  readonly loadBase?: number;
}

/**
 * The state in which a kernel is entered by the Multiboot2 Specification (2.0, 3.3), and the boot information that EBX
 * leads to: command line, the loader's name, modules, memory size and map, a text screen for kernels that ask for one,
 * the section headers of an ELF kernel with its symbols, and the load base of relocatable ones. There are no tags for
 * boot device, VBE, APM, EFI, SMBIOS, ACPI and network.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When there is no room for all of it below 4 GiB.
 * @example
 * ```ts
 * import { multiboot2Entry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const ram = [{ gpa: 0, size: 0x20_0000 }];
 * const { registers } = multiboot2Entry({ entry: 0x10_0000, ram, kernel: [], commandLine: "quiet" });
 * assertEquals(registers.rax, 0x36d7_6289n);
 * ```
 */
export function multiboot2Entry(layout: Multiboot2Layout): CpuState {
  const { entry, kernel, commandLine = "", modules = [], textScreen = false, loadBase, sections } =
    layout;
  const memory = new BootMemory(layout, kernel);
  const { lower, upper } = conventionalMemory(layout);
  const entries = memoryMap(layout)
    .map(({ base, length, type }) => ({ addr: base, len: length, type }));
  const tags = [
    tag(MULTIBOOT2_TAG.COMMAND_LINE, cString(commandLine)),
    tag(MULTIBOOT2_TAG.LOADER_NAME, cString(BOOT_LOADER_NAME)),
    ...modules.map(({ bytes, commandLine }, index) => {
      const mod_start = memory.putFile(`module ${index}`, bytes);
      const mod_end = mod_start + bytes.length;
      return tag(
        MULTIBOOT2_TAG.MODULE,
        table(moduleTag, [{ mod_start, mod_end }]),
        cString(commandLine),
      );
    }),
    tag(
      MULTIBOOT2_TAG.BASIC_MEMORY,
      table(basicMemoryTag, [{ mem_lower: lower, mem_upper: upper }]),
    ),
    tag(
      MULTIBOOT2_TAG.MEMORY_MAP,
      table(mapTag, [{ entry_size: mapEntry.size, entry_version: 0 }]),
      table(mapEntry, entries),
    ),
    ...textScreen ? [textScreenTag()] : [],
    ...sections === undefined ? [] : [tag(
      MULTIBOOT2_TAG.SECTIONS,
      table(sectionsTag, [{
        num: sections.count,
        entsize: sections.entrySize,
        shndx: sections.namesIndex,
      }]),
      placeSections(sections, memory),
    )],
    ...loadBase === undefined
      ? []
      : [tag(MULTIBOOT2_TAG.LOAD_BASE, table(loadBaseTag, [{ load_base_addr: loadBase }]))],
    tag(MULTIBOOT2_TAG.END),
  ];
  const total_size = tags.reduce((sum, { length }) => sum + length, informationHeader.size);
  const bytes = concat([table(informationHeader, [{ total_size }]), ...tags]);
  const rbx = BigInt(memory.put("multiboot information", bytes, informationRoom(layout)));
  return kernelEntry(entry, { rax: BigInt(MULTIBOOT2_BOOTLOADER_MAGIC), rbx }, memory.writes);
}

function textScreenTag(): Uint8Array<ArrayBuffer> {
  return tag(
    MULTIBOOT2_TAG.FRAMEBUFFER,
    table(framebufferTag, [{
      framebuffer_addr: TEXT_SCREEN.start,
      framebuffer_pitch: TEXT_MODE.pitch,
      framebuffer_width: TEXT_MODE.width,
      framebuffer_height: TEXT_MODE.height,
      framebuffer_bpp: TEXT_MODE.bitsOfCell,
      framebuffer_type: FRAMEBUFFER_EGA_TEXT,
    }]),
  );
}

/** A tag, up to the place of the next. Its `size` does not count what lies between. */
function tag(type: number, ...content: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const size = content.reduce((sum, { length }) => sum + length, tagHeader.size);
  const padding = new Uint8Array(Math.ceil(size / TAG_ALIGN) * TAG_ALIGN - size);
  return concat([table(tagHeader, [{ type, size }]), ...content, padding]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    bytes.set(part, end);
    end += part.length;
  }
  return bytes;
}
