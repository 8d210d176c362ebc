import type { Uart } from "../../devices/uart.ts";
import type { Image } from "../../guest/image.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { GeneralRegisters, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import type { ExitLog } from "../exits/exit_log.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import type { InterruptControllers } from "../interrupts/held_back.ts";
import type { MpState } from "../interrupts/vcpu_events.ts";
import type { LinearMemory } from "../memory/linear_memory.ts";
import type { PhysicalMemory } from "../memory/physical_memory.ts";
import type { Registers } from "../registers/registers.ts";

/** What a stopped CPU of a machine shows, for failure pages and the errors that hold one. */
export interface StoppedCpu {
  /** Its number, from 0. */
  readonly number: number;
  /** The machine whose CPU it is. */
  readonly machine: {
    /** Its CPUs, by number. */
    readonly cpus: readonly StoppedCpu[];
    /** The CPU of the latest exit. */
    readonly exitingCpu: StoppedCpu;
  };
  /** The registers, by every name. */
  readonly registers: Registers;
  /** The general and the special registers as they were when the machine was booted. */
  readonly bootRegisters: Readonly<GeneralRegisters & SpecialRegisters>;
  /** Memory by linear address. */
  readonly linear: LinearMemory;
  /** Memory by guest physical address. */
  readonly memory: PhysicalMemory;
  /** The guest as it was loaded. */
  readonly image: Image;
  /** The last exits, of all CPUs. */
  readonly log: ExitLog;
  /** Its latest exit that test code has seen. */
  readonly lastExit: Exit | undefined;
  /** Whether it stands at that exit. */
  readonly isAtExit: boolean;
  /** Whether the guest has a fault catcher. */
  readonly catchesFaults: boolean;
  /** The latest fault that the fault catcher has reported. Throws where there is none. */
  readonly fault: CaughtFault | undefined;
  /** Whether the machine has its serial line. */
  readonly hasSerial: boolean;
  /** The serial line. Throws where there is none. */
  readonly serial: Uart;
  /** Whether it runs, or what it waits for. */
  readonly mpState: MpState;
  /** The interrupt controllers that it hears of. */
  readonly interruptControllers: InterruptControllers;
  /** By what seed the machine's CPUs are interleaved, if they are. */
  readonly interleaving: { readonly seed: number; readonly instructions?: number } | undefined;
  /** The levels of KVM under the machine. */
  readonly kvm: { readonly vcpu: Pick<Vcpu, "registers" | "events"> };
}

/** Whether a CPU stands at an exit of one of these reasons. */
export function isAtExitOf(
  { lastExit, isAtExit }: StoppedCpu,
  ...reasons: readonly Exit["reason"][]
): boolean {
  return lastExit !== undefined && isAtExit && reasons.includes(lastExit.reason);
}
