import type { FrameFormat } from "../exceptions/exception_frame.ts";
import type { MsrValues } from "../msrs/msr_number.ts";
import type { MemoryWrite } from "../placement.ts";
import type { GeneralRegister } from "../registers/registers.ts";
import type { Segment } from "../registers/segment.ts";

/**
 * The modes in which a machine can boot (Intel SDM Vol. 3A, 2.2; AMD APM Vol. 2, 1.3). {@linkcode modeDefaults} has
 * what each begins with.
 */
export type Mode =
  /** Real mode. */
  | "real"
  /** Real mode with data segments of 4 GiB: big real mode. */
  | "unreal"
  /** Protected mode with 16-bit segments of 64 KiB. */
  | "protected16"
  /** 32-bit protected mode, flat, without paging. */
  | "protected"
  /** 32-bit protected mode with 32-bit paging. */
  | "paged"
  /** 32-bit protected mode with PAE paging. */
  | "pae"
  /** Virtual-8086 mode: 16-bit code at CPL 3 in protected mode, with the segments of real mode. */
  | "virtual8086"
  /** Compatibility mode: 32-bit code in long mode. */
  | "compatibility"
  /** 64-bit mode. */
  | "long";

/**
 * How wide the operands and addresses of a piece of code are by default: NASM's `bits`; of a code segment its D and L
 * (Intel SDM Vol. 3A, 3.4.5 and 5.2.1).
 */
export type CodeBits = 16 | 32 | 64;

/** All registers of `struct kvm_regs` by name (Intel SDM Vol. 1, 3.4). */
export type GeneralRegisters = Record<GeneralRegister, bigint>;

/** GDTR or IDTR, as `struct kvm_dtable` has it (Intel SDM Vol. 3A, 2.4.1 and 2.4.3). */
export interface DescriptorTable {
  /** Linear address of the table. */
  base: bigint;
  /** Offset of its last byte. */
  limit: number;
}

/** The names of the eight segment registers in `struct kvm_sregs` (Intel SDM Vol. 3A, 2.4 and 3.4.3). */
export type SegmentName = "cs" | "ds" | "es" | "fs" | "gs" | "ss" | "tr" | "ldt";

/**
 * Segments, descriptor tables and control registers, as `struct kvm_sregs` has them (Intel SDM Vol. 3A, 2.4, 2.5 and
 * 3.4.3).
 */
export interface SpecialRegisters extends Record<SegmentName, Segment> {
  /** Global descriptor table. */
  gdt: DescriptorTable;
  /** Interrupt descriptor table; the interrupt vector table in real mode. */
  idt: DescriptorTable;
  /** Mode and paging switches. */
  cr0: bigint;
  /** Address of the last page fault. */
  cr2: bigint;
  /** Address of the root page table. */
  cr3: bigint;
  /** Switches for extensions. */
  cr4: bigint;
  /** Task priority. */
  cr8: bigint;
  /** Extended features: long mode, no-execute. */
  efer: bigint;
  /** Address and switches of the local APIC. */
  apic_base: bigint;
  /** Pending external interrupts, a bit for each of the 256 vectors. */
  interrupt_bitmap: bigint[];
}

/** Where a guest's fault catcher is: the stubs that report the vectors 0 to 31, in real mode all 256. */
export interface FaultCatcherPlace {
  /** How the CPU enters the stubs. */
  format: FrameFormat;
  /** The linear address of the first stub. */
  stubs: number;
}

/** Control of the floating-point units (Intel SDM Vol. 1, 8.1.5 and 10.2.3). */
export interface FpuState {
  /** The control word of x87. */
  fcw: number;
  /** MXCSR: control and status of SSE. */
  mxcsr: number;
}

/**
 * The state in which a virtual CPU starts: what to load into its registers and into guest memory (`struct kvm_regs`
 * and `struct kvm_sregs`, in KVM's words).
 */
export interface CpuState {
  /** The mode that the state is in. */
  mode: Mode;
  /** Registers that the mode sets; all others are zero. */
  registers: Partial<GeneralRegisters>;
  /** Segments, descriptor tables and control registers, all of them. */
  specialRegisters: SpecialRegisters;
  /** What must be in memory; no two overlap. */
  writes: MemoryWrite[];
  /** Control of x87 and SSE, where the state sets them; elsewhere they are as KVM resets them. */
  fpu?: FpuState;
  /** Model-specific registers that the state sets. */
  msrs?: MsrValues;
  /** Where the fault catcher is, in a state that has one. */
  faultCatcher?: FaultCatcherPlace;
  /** Whether EDX has the processor's signature, EAX of CPUID's leaf 1, as after RESET#. */
  hasSignature?: boolean;
}
