import type { CpuidFeature } from "../cpuid/cpuid_features.ts";
import type { CodeBits, GeneralRegisters, SpecialRegisters } from "../boot/cpu_state.ts";
import type { PageWalk } from "../paging/page_walk.ts";
import type { Segment } from "../registers/segment.ts";

/** An instruction as a disassembler shows it (Intel SDM Vol. 2, 2.1). */
export interface IncidentInstruction {
  /** The linear address of its first byte. */
  readonly linear: bigint;
  /** Its bytes, or as many from there on as can be read, at most 15; none where nothing is mapped. */
  readonly bytes: Uint8Array;
  /** Its text as `ndisasm -p intel` writes it: `mov cs,ax`; empty where there is no disassembler. */
  readonly text: string;
  /** The width of the code. */
  readonly bits: CodeBits;
}

/** The registers that decide what an instruction does (Intel SDM Vol. 1, 3.4; Vol. 3A, 2.4 and 2.5). */
export interface IncidentState {
  /** The general registers. */
  readonly registers: GeneralRegisters;
  /** Segments, descriptor tables and control registers. */
  readonly specialRegisters: SpecialRegisters;
}

/** An instruction that was executed, and the registers right before it. */
export interface IncidentStep
  extends
    Pick<IncidentInstruction, "linear" | "text">,
    Pick<IncidentState, "registers">,
    Partial<Pick<IncidentState, "specialRegisters">> {
  /** The width of the code, where it is known. */
  readonly bits?: CodeBits;
}

/** An exception as the CPU raised it (Intel SDM Vol. 3A, 6.13 and 6.15). */
export interface SeenException {
  /** 0 to 31. */
  readonly vector: number;
  /** Where the CPU pushes one. */
  readonly errorCode?: number;
  /** Of a #PF. */
  readonly cr2?: bigint;
}

/** Where an event that is no exception comes from (Intel SDM Vol. 3A, 6.3 and 6.4). */
export type InterruptSource =
  /** An interrupt controller, or whoever injects as one. */
  | "external"
  /** NMI#. */
  | "nmi"
  /** The instructions `int n`, `int3` and `into`. */
  | "software";

/** The moment at which a CPU could not go on, right before the instruction that failed. */
export interface Incident extends IncidentState {
  /** The instruction. */
  readonly instruction: IncidentInstruction;
  /** XCR0, where the CPU has it. */
  readonly xcr0?: bigint;
  /** DR0 to DR7. */
  readonly debugRegisters?: readonly bigint[];
  /** The exception that it raised, where it could be seen; without it the manuals' rules tell. */
  readonly exception?: SeenException;
  /** The event that was being delivered when the CPU failed, where there was one. */
  readonly interrupt?: { readonly vector: number; readonly source: InterruptSource };
  /** Guest memory at that moment: so many bytes at a guest-physical address, or undefined where there is no memory. */
  readonly read: (gpa: number, size: number) => Uint8Array | undefined;
  /** Whether a device answers at a guest-physical address where there is no memory. */
  readonly isDevice?: (gpa: number) => boolean;
  /** The instructions before it as far as they are known, oldest first. */
  readonly steps: readonly IncidentStep[];
  /** The registers at boot, from which those tell themselves that no instruction has written. */
  readonly boot?: IncidentState;
  /** The source line that became the bytes from a linear address on: its text, and how many bytes. */
  readonly source?: (
    linear: bigint,
  ) => { readonly text: string; readonly length: number } | undefined;
  /** What CPUID offers; undefined where nobody knows. */
  readonly features?: ReadonlySet<CpuidFeature>;
  /** The CPU's vendor. */
  readonly vendor: "intel" | "amd";
  /** The CPU's physical-address width. Default 52, the architecture's. */
  readonly physicalAddressBits?: number;
}

/** The name of a linear address: `"entry32+0x3 (boot.asm:14)"`; undefined where it has none. */
export type NameOfAddress = (linear: bigint) => string | undefined;

/** What a finding tells of the chain. */
export type FindingKind =
  /** The instruction and the exception that it raised, or the event that arrived. */
  | "exception"
  /** What made it so: the entry, the descriptor, the register behind it. */
  | "cause"
  /** What came before: since when a register holds its value, where the guest left its way. */
  | "history"
  /** Why the exception, or the double fault after it, could not be delivered. */
  | "delivery";

/** An entry of a descriptor table (Intel SDM Vol. 3A, 3.4.5 and 6.11). */
export interface FoundDescriptor {
  /** Its table. */
  readonly table: "GDT" | "LDT" | "IDT";
  /** Its number in it. */
  readonly index: number;
  /** Its linear address. */
  readonly linear: bigint;
  /** Its bytes. */
  readonly bytes: Uint8Array;
  /** Of a segment: what it describes. */
  readonly segment?: Segment;
}

/** One link of the chain of causes. */
export interface Finding {
  /** What it tells. */
  readonly kind: FindingKind;
  /** A sentence or two. */
  readonly text: string;
  /** The linear address of the instruction or the table entry that it is about. */
  readonly linear?: bigint;
  /** The exception. */
  readonly exception?: SeenException;
  /** The descriptor that it is about. */
  readonly descriptor?: FoundDescriptor;
  /** The walk that it is about. */
  readonly walk?: PageWalk;
}
