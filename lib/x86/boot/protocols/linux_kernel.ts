import { type Struct, struct, type StructLayout, u16, u32, u64, u8 } from "../../../ffi/struct.ts";
import { LINUX, PROTECTED_MODE } from "../../layout.ts";
import { checkWrites, type MemoryWrite } from "../../placement.ts";
import { DESCRIPTOR_SIZE, descriptorToSegment } from "../../registers/segment.ts";
import type { CpuState } from "../cpu_state.ts";
import { kernelEntry } from "./kernel_entry.ts";
import { linuxEntry } from "./linux.ts";
import { BootMemory, cString, type KernelLayout, memoryMap } from "./memory_map.ts";
import { table } from "./multiboot.ts";

/** `struct setup_header` (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
export interface LinuxSetupHeader {
  /** Sectors of real-mode code behind the first. */
  readonly setup_sects: number;
  /** 0xaa55. */
  readonly boot_flag: number;
  /** A short jump over the header: its second byte says where the header ends. */
  readonly jump: number;
  /** "HdrS". */
  readonly header: number;
  /** The protocol's version: the major number in the high byte. */
  readonly version: number;
  /** Bits of {@linkcode LOAD_FLAG}. */
  readonly loadflags: number;
  /** Where the protected-mode kernel is loaded, unless it can be elsewhere. */
  readonly code32_start: number;
  /** The last address that an initrd may take. */
  readonly initrd_addr_max: number;
  /** What the load address is a multiple of. */
  readonly kernel_alignment: number;
  /** Whether the kernel runs at other addresses, too. */
  readonly relocatable_kernel: number;
  /** Bit 0: it has the 64-bit entry point. */
  readonly xloadflags: number;
  /** The longest command line. */
  readonly cmdline_size: number;
  /** Where the kernel wants to be. */
  readonly pref_address: bigint;
  /** Bytes of memory that it takes from its load address on, until it has looked at the memory map. */
  readonly init_size: number;
}

/** Where the setup header lies, in the file and in the zero page. */
export const SETUP_HEADER = 0x1f1;

/** The structure of {@linkcode LinuxSetupHeader}. */
export const setupHeader:
  & StructLayout
  & Pick<Struct<LinuxSetupHeader & Record<SetByLoader, number>>, "read" | "write"> = struct(
    "setup_header",
    {
      setup_sects: u8,
      root_flags: u16,
      syssize: u32,
      ram_size: u16,
      vid_mode: u16,
      root_dev: u16,
      boot_flag: u16,
      jump: u16,
      header: u32,
      version: u16,
      realmode_swtch: u32,
      start_sys_seg: u16,
      kernel_version: u16,
      type_of_loader: u8,
      loadflags: u8,
      setup_move_size: u16,
      code32_start: u32,
      ramdisk_image: u32,
      ramdisk_size: u32,
      bootsect_kludge: u32,
      heap_end_ptr: u16,
      ext_loader_ver: u8,
      ext_loader_type: u8,
      cmd_line_ptr: u32,
      initrd_addr_max: u32,
      kernel_alignment: u32,
      relocatable_kernel: u8,
      min_alignment: u8,
      xloadflags: u16,
      cmdline_size: u32,
      hardware_subarch: u32,
      hardware_subarch_data: u64,
      payload_offset: u32,
      payload_length: u32,
      setup_data: u64,
      pref_address: u64,
      init_size: u32,
      handover_offset: u32,
      kernel_info_offset: u32,
    },
    { packed: true },
  );

/** What the loader writes in the header. */
type SetByLoader =
  | "vid_mode"
  | "heap_end_ptr"
  | "type_of_loader"
  | "ramdisk_image"
  | "ramdisk_size"
  | "cmd_line_ptr";

/** Bits of `loadflags`. */
export const LOAD_FLAG = {
  /** The protected-mode code is loaded at 1 MiB, and not at 64 KiB. */
  loadedHigh: 1 << 0,
  /** `heap_end_ptr` was written: the set-up code may use memory up to there. */
  canUseHeap: 1 << 7,
} as const;

/** Bits of `xloadflags`. */
export const XLOAD_FLAG = {
  /** There is a 64-bit entry point. */
  kernel64: 1 << 0,
} as const;

/** How far behind the load address the 64-bit entry point is. */
export const ENTRY_64_OFFSET = 0x200;

/** Fields of the zero page, `struct boot_params`, beside the setup header (Documentation/arch/x86/zero-page.rst). */
const ZERO_PAGE = {
  SIZE: 4096,
  ACPI_RSDP: 0x70,
  E820_ENTRIES: 0x1e8,
  E820_TABLE: 0x2d0,
  MOST_E820_ENTRIES: 128,
} as const;

const e820Entry = struct("boot_e820_entry", { addr: u64, size: u64, type: u32 }, { packed: true });

/** A loader without a number of its own. */
export const UNDEFINED_LOADER = 0xff;
/** `vid_mode`: "normal". */
export const NORMAL_VIDEO = 0xffff;

const PAGE = 4096;

/** What a Linux kernel is entered with. */
export interface LinuxKernelLayout extends KernelLayout {
  /** Which of the kernel's entry points is taken: `entry` is its address. */
  readonly bits: 32 | 64;
  /** The setup header as the file has it, from offset 0x1f1 to its end. */
  readonly header: Uint8Array;
  /** An initial RAM disk. Default none. */
  readonly initrd?: Uint8Array<ArrayBuffer>;
}

/**
 * The state in which a Linux kernel is entered by its 32-bit or its 64-bit boot protocol (Documentation/arch/x86/boot.rst),
 * with the zero page that RSI has the address of: the setup header, the memory map (E820), the command line, and the
 * initrd, as high as the kernel lets it lie. The GDT has what the protocol asks for, `__BOOT_CS` and `__BOOT_DS`; in
 * long mode the first GiB is mapped onto itself. The zero page says nothing of a screen, disks, APM and EFI.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When the command line is too long, or there is no room for the initrd.
 */
export function linuxKernelEntry(layout: LinuxKernelLayout): CpuState {
  const { entry, kernel, bits, initrd, rsdp = 0, commandLine = "" } = layout;
  const page = new Uint8Array(ZERO_PAGE.SIZE);
  page.set(layout.header, SETUP_HEADER);
  const view = new DataView(page.buffer);
  const { initrd_addr_max, cmdline_size } = setupHeader.read(view, SETUP_HEADER);
  const text = cString(commandLine);
  if (text.length - 1 > cmdline_size) {
    throw new RangeError(
      `Cannot give the kernel a command line of ${
        text.length - 1
      } bytes: its setup header's cmdline_size is ${cmdline_size}`,
    );
  }
  const memory = new BootMemory(layout, [
    ...kernel,
    { gpa: LINUX.globalDescriptorTable, size: LINUX.commandLine - LINUX.globalDescriptorTable },
  ]);
  setupHeader.write(view, SETUP_HEADER, {
    vid_mode: NORMAL_VIDEO,
    type_of_loader: UNDEFINED_LOADER,
    ramdisk_image: placeInitrd(memory, initrd, initrd_addr_max),
    ramdisk_size: initrd?.length ?? 0,
    cmd_line_ptr: memory.put("command line", text, { from: LINUX.commandLine }),
  });
  const map = memoryMap(layout).slice(0, ZERO_PAGE.MOST_E820_ENTRIES);
  page[ZERO_PAGE.E820_ENTRIES] = map.length;
  page.set(
    table(e820Entry, map.map(({ base, length, type }) => ({ addr: base, size: length, type }))),
    ZERO_PAGE.E820_TABLE,
  );
  view.setBigUint64(ZERO_PAGE.ACPI_RSDP, BigInt(rsdp), true);
  memory.writes.push({ gpa: LINUX.zeroPage, bytes: page, what: "zero page" });
  const state = bits === 64
    ? longState(entry, memory.writes)
    : kernelEntry(entry, { rsi: BigInt(LINUX.zeroPage) }, memory.writes);
  return withBootSegments(state, bits);
}

/** Places an initrd as high as the kernel lets it lie, and returns where; 0 for none. */
export function placeInitrd(
  memory: BootMemory,
  initrd: Uint8Array<ArrayBuffer> | undefined,
  initrd_addr_max: number,
): number {
  if (initrd === undefined) return 0;
  return memory.put("initrd", initrd, {
    align: PAGE,
    from: LINUX.code,
    below: initrd_addr_max + 1,
    highest: true,
  });
}

/** `__BOOT_CS` and `__BOOT_DS` are the third descriptor and the fourth. The TSS, which VMX asks for, is the second. */
const TASK = 1;
const CODE = 2;
const DATA = 3;
const CODE_DESCRIPTOR = { 32: 0x00cf_9b00_0000_ffffn, 64: 0x00af_9b00_0000_ffffn } as const;
const DATA_DESCRIPTOR = 0x00cf_9300_0000_ffffn;
const TASK_DESCRIPTOR = 0x008f_8b00_0000_ffffn;

/** A state with the GDT that the boot protocol asks for, and the segments out of it. */
function withBootSegments({ fpu: _, msrs: __, ...state }: CpuState, bits: 32 | 64): CpuState {
  const descriptors = [0n, TASK_DESCRIPTOR, CODE_DESCRIPTOR[bits], DATA_DESCRIPTOR];
  const bytes = new Uint8Array(new BigUint64Array(descriptors).buffer);
  const segment = (index: number) =>
    descriptorToSegment(descriptors[index], index * DESCRIPTOR_SIZE);
  const data = () => segment(DATA);
  return {
    ...state,
    specialRegisters: {
      ...state.specialRegisters,
      gdt: { base: BigInt(LINUX.globalDescriptorTable), limit: bytes.length - 1 },
      idt: { base: 0n, limit: 0 },
      cs: segment(CODE),
      ds: data(),
      es: data(),
      fs: data(),
      gs: data(),
      ss: data(),
      tr: segment(TASK),
    },
    writes: checkWrites([
      { gpa: LINUX.globalDescriptorTable, bytes, what: "GDT" },
      ...state.writes,
    ], Number.MAX_SAFE_INTEGER),
  };
}

function longState(entry: number, writes: readonly MemoryWrite[]): CpuState {
  const { registers, writes: tables, ...state } = linuxEntry({
    entry,
    memorySize: PROTECTED_MODE.stackTop,
  });
  const pageTables = tables.filter(({ gpa }) => gpa >= LINUX.pageTables);
  return {
    ...state,
    // The kernel has a stack of its own.
    registers: { ...registers, rsp: 0n, rbp: 0n },
    writes: [...pageTables, ...writes],
  };
}
