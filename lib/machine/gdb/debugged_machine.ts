import type { Exit } from "../../kvm/exits/exit.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { GuestDebug } from "../run/guest_debug.ts";
import type { RunOptions } from "../run/run_options.ts";
import type { TestAnswer } from "../exits/answer_bytes.ts";

/** What gdb needs of a CPU. */
export interface DebuggedCpu extends StoppedCpu {
  /** Where it stops the guest. */
  readonly debug: GuestDebug;
  /** Executes one instruction. */
  step(options?: RunOptions): Exit;
}

/** What gdb needs of a machine. */
export interface DebuggedMachine {
  /** Its CPUs, by number. */
  readonly cpus: readonly DebuggedCpu[];
  /** The CPU of the latest exit. */
  readonly exitingCpu: StoppedCpu;
  /** What the guest wrote last to its exit port. */
  readonly exitStatus: number | undefined;
  /** Runs the guest. */
  run(options?: RunOptions): Exit;
  /** Answers the latest exit. */
  answer(value: TestAnswer): void;
}

/** Has a run end with the exit INTR as soon as `isAsked` says so; undefined for never again. */
export type InterruptWhen = (isAsked: (() => boolean) | undefined) => void;
