import type { CpuState, DescriptorTable, FpuState } from "../cpu_state.ts";
import { cr0Flags, cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { LINUX, PROTECTED_MODE } from "../../layout.ts";
import type { MsrValues } from "../../msrs/msr_number.ts";
import type { PageMapping } from "../../paging/page_mapping.ts";
import { buildPageTables } from "../../paging/page_tables.ts";
import { checkWrites } from "../../placement.ts";
import { DESCRIPTOR_SIZE, descriptorToSegment } from "../../registers/segment.ts";
import { specialRegisters, unusableSegment } from "../modes/common.ts";
import { identityMap } from "../modes/paging_layout.ts";

/**
 * What the Linux convention can be told (the kernel's Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL"). All of
 * it has defaults.
 */
export interface LinuxLayout {
  /** Bytes of memory from address 0 on, in which tables must fit. Default 2 MiB. */
  memorySize?: number;
  /** Linear address of the first instruction. Default 0x100000. */
  entry?: number | bigint;
  /** Initial RSP and RBP. Default 0x8ff0. */
  stack?: number;
  /** What RSI points to: the zero page, `struct boot_params`. Nothing is written there. Default 0x7000. */
  zeroPage?: number;
  /** Further mappings. Where one of them lies, the identity map has no say. */
  mappings?: readonly PageMapping[];
}

/** The GDT as virtual machine monitors write it: null, code, data, TSS; each descriptor of 8 bytes. */
const DESCRIPTORS = [
  0n,
  0x00af_9b00_0000_ffffn,
  0x00cf_9300_0000_ffffn,
  0x008f_8b00_0000_ffffn,
];
/** All exceptions masked; x87 of double extended precision. */
const FPU: FpuState = { fcw: 0x37f, mxcsr: 0x1f80 };

/** Bit 0 of IA32_MISC_ENABLE: fast strings (Intel SDM Vol. 4, 2.1). */
const FAST_STRINGS = 1;

/** What the monitors write before the kernel starts. */
const BOOT_MSRS: MsrValues = {
  IA32_SYSENTER_CS: 0,
  IA32_SYSENTER_ESP: 0,
  IA32_SYSENTER_EIP: 0,
  STAR: 0,
  CSTAR: 0,
  KERNEL_GS_BASE: 0,
  SYSCALL_MASK: 0,
  LSTAR: 0,
  IA32_TSC: 0,
  IA32_MISC_ENABLE: FAST_STRINGS,
};
const CODE = 1;
const DATA = 2;
const TASK = 3;
const IDT_SIZE = 8;

/**
 * The state in which rust-vmm's virtual machine monitors (Firecracker, Cloud Hypervisor and others) enter a 64-bit
 * Linux kernel (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"): 64-bit mode at CPL 0, interrupts off, the
 * first GiB mapped onto itself in 2 MiB pages, RSI on the zero page, RSP and RBP on the stack, all else zero (Linux,
 * Documentation/x86/boot.rst, 64-bit boot protocol).
 *
 * CR0 has PE and PG, and ET and NE, which VMX fixes to 1; CR4 has PAE; EFER LME and LMA. The x87 control word is 0x37f
 * and MXCSR 0x1f80; the MSRs of SYSENTER and SYSCALL, KERNEL_GS_BASE and the TSC are 0, and IA32_MISC_ENABLE has fast
 * strings.
 *
 * @param layout Where the kernel's parts lie, as guest-physical addresses.
 * @throws {RangeError} When a mapping cannot be, or tables do not fit the memory.
 * @example
 * ```ts
 * import { linuxEntry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, specialRegisters } = linuxEntry();
 * assertEquals([registers.rsi, registers.rsp], [0x7000n, 0x8ff0n]);
 * assertEquals(specialRegisters.cr3, 0x9000n);
 * ```
 */
export function linuxEntry(layout: LinuxLayout = {}): CpuState {
  const { memorySize = LINUX.memorySize, mappings = [], zeroPage = LINUX.zeroPage } = layout;
  const stack = BigInt(layout.stack ?? LINUX.stackTop);
  const { cr3, writes: pageTables } = buildPageTables({
    areas: [
      { start: LINUX.pageTables, end: LINUX.pageTablesEnd },
      { start: LINUX.pageTablesEnd, end: PROTECTED_MODE.stackTop },
    ],
    mappings: [
      ...identityMap({ paging: "4-level", pageSize: "2M", user: false, others: mappings }),
      ...mappings,
    ],
  });
  const gdt = new Uint8Array(new BigUint64Array(DESCRIPTORS).buffer);
  const segment = (index: number) =>
    descriptorToSegment(DESCRIPTORS[index], index * DESCRIPTOR_SIZE);
  const data = segment(DATA);
  return {
    mode: "long",
    registers: {
      rip: BigInt(layout.entry ?? LINUX.code),
      rsp: stack,
      rbp: stack,
      rsi: BigInt(zeroPage),
      rflags: RFLAGS_ALWAYS_SET,
    },
    specialRegisters: specialRegisters({
      cs: segment(CODE),
      ds: data,
      es: { ...data },
      fs: { ...data },
      gs: { ...data },
      ss: { ...data },
      tr: segment(TASK),
      ldt: unusableSegment(),
      gdt: table(LINUX.globalDescriptorTable, gdt.length),
      idt: table(LINUX.interruptDescriptorTable, IDT_SIZE),
    }, {
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true, pg: true }),
      cr3,
      cr4: flagsToValue(cr4Flags, { pae: true }),
      efer: flagsToValue(eferFlags, { lme: true, lma: true }),
    }),
    fpu: { ...FPU },
    msrs: { ...BOOT_MSRS },
    writes: checkWrites([
      { gpa: LINUX.globalDescriptorTable, bytes: gdt, what: "GDT" },
      { gpa: LINUX.interruptDescriptorTable, bytes: new Uint8Array(IDT_SIZE), what: "IDT" },
      ...pageTables,
    ], memorySize),
  };
}

function table(base: number, size: number): DescriptorTable {
  return { base: BigInt(base), limit: size - 1 };
}
