import type { Device } from "../devices/device.ts";
import type { Clock } from "../devices/timers.ts";
import type { Libc } from "../ffi/libc.ts";
import type { Image } from "../guest/image.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vm } from "../kvm/vm.ts";
import type { FaultCatcherPlace, Mode } from "../x86/boot/cpu_state.ts";
import type { VcpuAndRegisters } from "./cpu.ts";
import type { Irqchip } from "./interrupts/irqchip.ts";
import type { DirtyPages } from "./memory/dirty_pages.ts";
import type { MemorySlots } from "./memory/physical_memory.ts";
import type { SeededInterleaving } from "./run/interleaving.ts";
import type { ResetPolicy } from "./run/run_ends.ts";

/** What a machine is told. */
export interface MachineSettings extends ResetPolicy {
  /** The guest. */
  readonly image: Image;
  /** The mode in which it starts. */
  readonly mode: Mode;
  /** By what seed the CPUs are interleaved; undefined for slices of time. */
  readonly interleaving: SeededInterleaving | undefined;
  /** The time limit of a run, in milliseconds, before it is scaled. */
  readonly timeout: number;
  /** How many exits the log keeps. */
  readonly recordExits: number;
  /** Whether it notes when each came. */
  readonly timeExits: boolean;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** Whether the kernel has the interval timer. */
  readonly pit: boolean;
  /** Whether there is a serial line at COM1. */
  readonly serial: boolean;
  /** The port by which the guest ends the run with a status, if there is one. */
  readonly exitPort: number | undefined;
  /** Whether the guest has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Where its fault catcher is, if it has one. */
  readonly faultCatcher: FaultCatcherPlace | undefined;
  /** Whether it is noted which instructions the guest executes. */
  readonly coverage: boolean;
  /** Whether all that can be seen of the guest is noted at each exit, for a report. */
  readonly isTraced: boolean;
  /** What is on the board. */
  readonly devices: readonly Device[];
  /** What those count by. */
  readonly clock: Clock | undefined;
  /** Whether ports and addresses without a handler are an open bus. */
  readonly hasOpenBus: boolean;
}

/** What a machine is made of. */
export interface BoardInit {
  /** The C library that every call goes through. */
  readonly libc: Libc;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** Its CPUs, whose registers are still to be set. */
  readonly cpus: readonly VcpuAndRegisters[];
  /** Its memory. */
  readonly slots: MemorySlots;
  /** What notes the pages that the guest writes. */
  readonly dirtyPages: DirtyPages | undefined;
  /** What its time limits are multiplied by. */
  readonly timeoutScale: number;
  /** What it is told. */
  readonly settings: MachineSettings;
  /**
   * Keeps the VM and the vCPUs for another machine, if that can be: else they are still to be closed. Undefined where they
   * never are.
   */
  readonly keep: (() => boolean) | undefined;
}
