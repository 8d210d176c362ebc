import type { Libc } from "../ffi/libc.ts";
import type { Image } from "../guest/image.ts";
import type { Exit } from "../kvm/exit.ts";
import type { AnswerFields } from "../kvm/exit_answer.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import type { FaultCatcherPlace, Mode } from "../x86/cpu_state.ts";
import type { Uart } from "../devices/uart.ts";
import type { Irqchip } from "./boot/boot_options.ts";
import type { CaughtFault } from "./faults/caught_fault.ts";
import type { InterleavingOptions } from "./boot/cpu_options.ts";
import type { DirtyPages } from "./memory/dirty_pages.ts";
import type { ExitLog } from "./exits/exit_log.ts";
import type { GuestDebug } from "./run/guest_debug.ts";
import type { Injection } from "./interrupts/injection.ts";
import type { InterruptQueue } from "./interrupts/interrupt_queue.ts";
import type { Machine } from "./machine.ts";
import type { MsrIntercepts } from "./msrs/msr_intercepts.ts";
import type { MemorySlots, PhysicalMemory } from "./memory/physical_memory.ts";
import type { PortOutput } from "./buses/port_output.ts";
import type { RegisterStore } from "./registers/register_store.ts";
import type { Registers } from "./registers/registers.ts";

/** How one run is made. */
export interface RunOptions {
  /**
   * How long it may take, in milliseconds, before `VMEXIT_TIMEOUT_SCALE`. The machine's own limit by default.
   */
  readonly timeout?: number;
  /**
   * `"halted"`: the run ends with HLT as soon as the guest waits in HLT, though an interrupt could wake it. It counts
   * for machines with a local APIC (the option `irqchip`), whose HLT waits in the kernel: the others end at each HLT.
   * A guest that waits for its timer counts as well. It is found out after 5 to 10 ms.
   */
  readonly until?: "halted";
}

/** What answers an exit before the machine's devices are asked: see {@linkcode ExitsOptions}. */
export interface ExitAnswer {
  /** Who it is, for tables of exits: `"transcript"`. */
  readonly by: string;
  /** For a read: what the guest gets, as many bytes as the exit's data has. */
  readonly bytes?: Uint8Array;
  /** For an exit that is neither IO nor MMIO, and waits for an answer: its fields. */
  readonly fields?: AnswerFields;
}

/** How exits are iterated. */
export interface ExitsOptions extends RunOptions {
  /**
   * Asked first at every exit, with the number of its CPU. What it answers, no device sees; undefined hands the exit
   * on to the devices.
   */
  readonly before?: (
    exit: Exit,
    fault: CaughtFault | undefined,
    cpu: number,
  ) => ExitAnswer | undefined;
  /** The numbers of the CPUs that run; the others stand still. Default all. */
  readonly cpus?: readonly number[];
}

/** An exit as {@linkcode Machine.exits} gives it. */
export interface ObservedExit {
  /** Which exit of the machine it is, from 1. */
  readonly number: number;
  /** The number of the CPU whose exit it is. */
  readonly cpu: number;
  /** The exit, decoded. */
  readonly exit: Exit;
  /**
   * The guest's fault, where the exit is one by which its fault catcher reports one (the option `catchFaults`);
   * it is the last of its iteration.
   */
  readonly fault: CaughtFault | undefined;
  /**
   * What answered it, or undefined: then a read must be answered with {@linkcode Machine.answer} before the
   * machine runs on.
   */
  readonly answeredBy: string | undefined;
  /** The value that was written or answered, of the first element; undefined where there is none. */
  readonly value: bigint | undefined;
}

/** What a CPU is made of. */
export interface CpuParts {
  /** The virtual CPU. */
  readonly vcpu: Vcpu;
  /** Its registers. */
  readonly store: RegisterStore;
}

/** A CPU with the ways to its registers, and what a test does to it. */
export interface CpuCore extends CpuParts {
  /** Its number. */
  readonly number: number;
  /** The registers, by every name. */
  readonly registers: Registers;
  /** Breakpoints, watchpoints, and what else stops it for a look. */
  readonly debug: GuestDebug;
  /** Exceptions, interrupts, NMIs and SMIs from outside. */
  readonly inject: Injection;
  /** The interrupts that wait for it. */
  readonly interrupts: InterruptQueue;
}

/** How far a CPU has come. */
export interface CpuProgress {
  /** Its latest exit that test code has seen. */
  readonly lastExit: Exit | undefined;
  /** The latest fault that its fault catcher has reported. */
  readonly lastFault: CaughtFault | undefined;
  /** Whether it stands at its latest exit. */
  readonly isAtExit: boolean;
}

/** What the CPUs of a machine share. */
export interface MachineBoard {
  /** The machine. */
  readonly machine: Machine;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** The guest as it was loaded. */
  readonly image: Image;
  /** The mode in which it was booted. */
  readonly mode: Mode;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** Memory by guest physical address. */
  readonly memory: PhysicalMemory;
  /** The last exits. */
  readonly log: ExitLog;
  /** What the guest wrote to its ports. */
  readonly portOutput: PortOutput;
  /** Who takes accesses to MSRs. */
  readonly intercepts: MsrIntercepts;
  /** The serial line at COM1, if there is one. */
  readonly serial: Uart | undefined;
  /** What the guest wrote to its exit port. */
  readonly exitStatus: number | undefined;
  /** Whether the guest has a fault catcher. */
  readonly catchesFaults: boolean;
  /** By what seed its CPUs are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** How far a CPU has come. */
  progressOf(cpu: number): CpuProgress;
  /** See {@linkcode MachineCpu.step}. */
  step(cpu: number, options: RunOptions): Exit;
  /** See {@linkcode MachineCpu.checkUsable}. */
  checkUsable(what: string): void;
}

/** What a machine is made of; {@linkcode boot} puts it together. */
export interface MachineParts {
  /** The C library that every call goes through. */
  readonly libc: Libc;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** Its CPUs. */
  readonly cpus: readonly CpuParts[];
  /** By what seed they are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** The guest. */
  readonly image: Image;
  /** The mode in which it starts. */
  readonly mode: Mode;
  /** Its memory. */
  readonly slots: MemorySlots;
  /** What notes the pages that the guest writes. */
  readonly dirtyPages: DirtyPages | undefined;
  /** The time limit of a run, in milliseconds, before it is scaled. */
  readonly timeout: number;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** Whether the kernel has the interval timer. */
  readonly pit: boolean;
  /** How many exits the log keeps. */
  readonly recordExits: number;
  /** Whether it has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Where its fault catcher is, if it has one. */
  readonly faultCatcher: FaultCatcherPlace | undefined;
}
