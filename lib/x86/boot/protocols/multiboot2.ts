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
  BOOT_DEVICE: 5,
  MEMORY_MAP: 6,
  FRAMEBUFFER: 8,
  SECTIONS: 9,
  ACPI_OLD: 14,
  ACPI_NEW: 15,
  LOAD_BASE: 21,
} as const;

/** The headings of the specification's section 3.6, by the types of the tags. */
const TAG_NAMES: readonly string[] = [
  "the end",
  "the boot command line",
  "the boot loader name",
  "modules",
  "basic memory information",
  "the BIOS boot device",
  "the memory map",
  "VBE info",
  "framebuffer info",
  "ELF symbols",
  "the APM table",
  "the EFI 32-bit system table pointer",
  "the EFI 64-bit system table pointer",
  "SMBIOS tables",
  "the ACPI old RSDP",
  "the ACPI new RSDP",
  "networking information",
  "the EFI memory map",
  "EFI boot services not terminated",
  "the EFI 32-bit image handle pointer",
  "the EFI 64-bit image handle pointer",
  "the image load base physical address",
];

/** A tag of the boot information, for people: "the APM table (tag 10)". */
export function multiboot2TagName(type: number): string {
  const name = TAG_NAMES[type];
  return name === undefined
    ? `tag ${type}, which the specification has not`
    : `${name} (tag ${type})`;
}

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
const bootDeviceTag = struct("multiboot_tag_bootdev", {
  biosdev: u32,
  partition: u32,
  sub_partition: u32,
});
const loadBaseTag = struct("multiboot_tag_load_base_addr", { load_base_addr: u32 });

/** No partition, in the tag of the boot device. */
const NO_PARTITION = 0xffff_ffff;

/** The root system description pointer (ACPI 6.5, table 5.3): as long as ACPI 1.0 has it, and whole. */
const RSDP = { SIGNATURE: "RSD PTR ", OLD_SIZE: 20, REVISION: 15, SIZE: 36 } as const;

/** What a multiboot 2 kernel is entered with. */
export interface Multiboot2Layout extends Omit<MultibootLayout, "rsdp"> {
  /** The RSDP, of which it gets a copy. Default none. */
  readonly rsdp?: Uint8Array;
  /** Types of the tags that it cannot do without, by its header. Default none. */
  readonly requires?: readonly number[];
  /** Where a relocatable kernel was loaded, for the tag that tells it. Default there is no such tag. */
  readonly loadBase?: number;
}

/**
 * The state in which a kernel is entered by the Multiboot2 Specification (2.0, 3.3), and the boot information that EBX
 * leads to: command line, the loader's name, modules, memory size and map, a text screen for kernels that ask for one,
 * the section headers of an ELF kernel with its symbols, and the load base of relocatable ones; the boot device and the
 * RSDP where they are given. There are no tags for VBE, APM, EFI, SMBIOS and network.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When there is no room for all of it below 4 GiB, the RSDP is none, or a tag is missing that the
 *   kernel requires.
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
  const { bootDevice, rsdp, requires = [] } = layout;
  checkRequired(requires, layout);
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
    ...bootDevice === undefined ? [] : [tag(
      MULTIBOOT2_TAG.BOOT_DEVICE,
      table(bootDeviceTag, [{
        biosdev: bootDevice.drive,
        partition: bootDevice.partition ?? NO_PARTITION,
        sub_partition: NO_PARTITION,
      }]),
    )],
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
    ...rsdp === undefined ? [] : [rsdpTag(rsdp)],
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

/** What a kernel may require, and not get: which tag that is, and what would give it. */
const CONDITIONAL: readonly {
  readonly type: number;
  readonly isGiven: (layout: Multiboot2Layout) => boolean;
  readonly remedy: string;
}[] = [
  {
    type: MULTIBOOT2_TAG.BOOT_DEVICE,
    isGiven: ({ bootDevice }) => bootDevice !== undefined,
    remedy: "give the option kernel.bootDevice, { drive: 0x80 }",
  },
  {
    type: MULTIBOOT2_TAG.SECTIONS,
    isGiven: ({ sections }) => sections !== undefined,
    remedy: "it is no ELF file, or was stripped of its section headers",
  },
  {
    type: MULTIBOOT2_TAG.ACPI_OLD,
    isGiven: ({ rsdp }) => rsdp !== undefined && isOld(rsdp),
    remedy: "give the option kernel.rsdp, an RSDP of revision 0",
  },
  {
    type: MULTIBOOT2_TAG.ACPI_NEW,
    isGiven: ({ rsdp }) => rsdp !== undefined && !isOld(rsdp),
    remedy: "give the option kernel.rsdp, acpiTables().subarray(0, 36)",
  },
  {
    type: MULTIBOOT2_TAG.LOAD_BASE,
    isGiven: ({ loadBase }) => loadBase !== undefined,
    remedy: "let its header have the relocatable tag (type 10)",
  },
];

function checkRequired(requires: readonly number[], layout: Multiboot2Layout): void {
  for (const { type, isGiven, remedy } of CONDITIONAL) {
    if (!requires.includes(type) || isGiven(layout)) continue;
    throw new RangeError(
      `Cannot boot the multiboot 2 kernel: its header requires ${
        multiboot2TagName(type)
      }, and there is none; ${remedy}`,
    );
  }
}

const isOld = (rsdp: Uint8Array): boolean => rsdp[RSDP.REVISION] === 0;

/** A copy of the RSDP: of ACPI 1.0, or of a later one. */
function rsdpTag(rsdp: Uint8Array): Uint8Array<ArrayBuffer> {
  const { SIGNATURE, OLD_SIZE, SIZE } = RSDP;
  const size = isOld(rsdp) ? OLD_SIZE : SIZE;
  const signature = new TextDecoder().decode(rsdp.subarray(0, SIGNATURE.length));
  if (signature !== SIGNATURE || rsdp.length < size) {
    throw new RangeError(
      `Cannot give the kernel an RSDP of ${rsdp.length} bytes that begins with ${
        JSON.stringify(signature)
      }: it begins with ${
        JSON.stringify(SIGNATURE)
      }, and has ${OLD_SIZE} bytes with revision 0, else ${SIZE}`,
    );
  }
  const type = isOld(rsdp) ? MULTIBOOT2_TAG.ACPI_OLD : MULTIBOOT2_TAG.ACPI_NEW;
  return tag(type, rsdp.slice(0, size));
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
