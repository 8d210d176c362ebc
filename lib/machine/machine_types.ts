import type { Libc } from "../ffi/libc.ts";
import type { Image } from "../guest/image.ts";
import type { Exit } from "../kvm/exit.ts";
import type { AnswerFields } from "../kvm/exit_answer.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import type { Mode } from "../x86/cpu_state.ts";
import type { MemorySlot } from "./physical_memory.ts";
import type { RegisterStore } from "./register_store.ts";

/** How one run is made. */
export interface RunOptions {
  /**
   * How long it may take, in milliseconds, before `VMEXIT_TIMEOUT_SCALE`. The machine's own limit by default.
   */
  readonly timeout?: number;
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
   * Asked first at every exit. What it answers, no device sees; undefined hands the exit on to the devices.
   */
  readonly before?: (exit: Exit) => ExitAnswer | undefined;
}

/** An exit as {@linkcode Machine.exits} gives it. */
export interface ObservedExit {
  /** Which exit of the machine it is, from 1. */
  readonly number: number;
  /** The exit, decoded. */
  readonly exit: Exit;
  /**
   * What answered it, or undefined: then a read must be answered with {@linkcode Machine.answer} before the
   * machine runs on.
   */
  readonly answeredBy: string | undefined;
  /** The value that was written or answered, of the first element; undefined where there is none. */
  readonly value: bigint | undefined;
}

/** What a machine is made of; {@linkcode boot} puts it together. */
export interface MachineParts {
  /** The C library that every call goes through. */
  readonly libc: Libc;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** Its CPU. */
  readonly vcpu: Vcpu;
  /** The CPU's registers. */
  readonly store: RegisterStore;
  /** The guest. */
  readonly image: Image;
  /** The mode in which it starts. */
  readonly mode: Mode;
  /** Its memory. */
  readonly slots: readonly MemorySlot[];
  /** The time limit of a run, in milliseconds, before it is scaled. */
  readonly timeout: number;
  /** How many exits the log keeps. */
  readonly recordExits: number;
}
