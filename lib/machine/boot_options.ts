import type { Libc } from "../ffi/libc.ts";
import type { LongLayout } from "../x86/modes/long.ts";
import type { RealLayout } from "../x86/modes/real.ts";
import type { MemoryContent } from "./address_space.ts";
import type { RegisterValues } from "./registers.ts";
import type { Size } from "./size.ts";

/** Memory beside the machine's main memory. */
export interface SlotOptions {
  /** The first guest physical address, a multiple of 4096. */
  readonly gpa: number;
  /** How much: a multiple of 4096. */
  readonly size: Size;
  /** Whether the guest's writes are refused, and arrive as MMIO exits: ROM. Needs KVM_CAP_READONLY_MEM. */
  readonly readonly?: boolean;
  /** What it holds at its start; zeros after that. */
  readonly content?: MemoryContent;
}

/** What every mode's machine can be told. All of it has defaults. */
export interface CommonOptions {
  /** The main memory, from physical address 0 on: a multiple of 4096. Default 1 MiB in real mode, 2 MiB in long mode. */
  readonly memory?: Size;
  /** More memory: elsewhere, or read-only. */
  readonly slots?: readonly SlotOptions[];
  /** The linear address that the guest is assembled for, and where it lies, unless its source has an `org` of its own. */
  readonly origin?: number;
  /** The physical address of its first byte, where that is not what the page tables make of its origin. */
  readonly load?: number;
  /** Where execution starts: a linear address, or a label of the guest. By default `_start`, where there is one, else the origin. */
  readonly entry?: number | string;
  /** Registers at the start, over what the mode sets. */
  readonly registers?: RegisterValues;
  /** How long a run may take, in milliseconds. Default 1000; `VMEXIT_TIMEOUT_SCALE` multiplies it. */
  readonly timeout?: number;
  /** Whether there is a serial line at COM1. Default true. */
  readonly serial?: boolean;
  /** A port by which the guest ends the run with a status, such as 0xf4. Default none. */
  readonly exitPort?: number;
  /** Whether the kernel emulates the PIC, the IOAPIC and the LAPIC. HLT then waits in the kernel for an interrupt and is no exit. Default false. */
  readonly irqchip?: boolean;
  /** How many exits the log keeps. Default 64, at most 2^20. */
  readonly recordExits?: number;
  /** Another C library, for tests that inject faults. */
  readonly libc?: Libc;
}

/** A machine that starts in real mode. */
export interface RealOptions extends CommonOptions, Omit<RealLayout, "memorySize" | "entry"> {
  /** Real mode: the default for a guest whose source does not say `bits 64`. */
  readonly mode?: "real";
}

/** A machine that starts in long mode. */
export interface LongOptions extends CommonOptions, Omit<LongLayout, "memorySize" | "entry"> {
  /** 64-bit mode: the default for a guest whose source says `bits 64`. */
  readonly mode: "long";
}

/** What a machine can be told at boot. */
export type BootOptions = RealOptions | LongOptions;
