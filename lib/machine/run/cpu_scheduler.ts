import type { ExitLog } from "../exits/exit_log.ts";
import type { InputRecord } from "../exits/input_record.ts";
import type { CpuRunner } from "./cpu_runner.ts";
import type { SchedulingPolicy, TimeSlice } from "./interleaving.ts";
import type { ActivityState } from "./activity_state.ts";

/** How often CPUs must be found idle in a row: what a thread of the kernel's brings may be on its way. */
const LOOKS = 2;

/** What a scheduler needs of its machine. */
export interface CpuSchedulerInit {
  /** Its CPUs, by number. */
  readonly runners: readonly CpuRunner[];
  /** The turn that their loops ask about. */
  readonly slice: TimeSlice;
  /** Who decides about turns. */
  readonly interleaving: SchedulingPolicy;
  /** How many exits there were. */
  readonly log: Pick<ExitLog, "total">;
  /** Hears whose each exit is, and which CPU is interrupted. */
  readonly inputs: Pick<InputRecord, "exitOf" | "interrupted">;
  /** Whether a device has asked for a SYSTEM_EVENT. */
  readonly hasEvent: () => boolean;
}

/** Whose turn it is, at some time. */
export interface CpuSchedulerState {
  readonly policy: number;
  readonly current: number | undefined;
  readonly left: number | undefined;
  readonly idleTurns: number;
  readonly isLeft: boolean;
}

/**
 * Gives the CPUs of a machine their turns on the one thread that there is. One that cannot run is passed over; where
 * none can, those that sit in HLT are run in slices, so that a timer or a device wakes them. One that spins gives the rest
 * of its turn away.
 */
export class CpuScheduler {
  /** Whether a CPU that waits in HLT has ended, though an interrupt could wake it. */
  endsWaiting = false;
  readonly #parts: CpuSchedulerInit;
  #current: CpuRunner | undefined;
  #runs: readonly CpuRunner[];
  /** How many turns in a row have ended in HLT. */
  #idleTurns = 0;
  /** Whether the latest run was left before its end, so that the next one goes on with it. */
  #isLeft = false;

  /** A scheduler of CPUs that have not run yet. */
  constructor(parts: CpuSchedulerInit) {
    this.#parts = parts;
    this.#runs = parts.runners;
  }

  /**
   * Begins a run: CPUs that have halted go on, unless it goes on with one that was left, in which others have not.
   *
   * @param cpus The numbers of those that run; undefined for all.
   */
  begin(cpus: readonly number[] | undefined): void {
    const { runners } = this.#parts;
    this.#runs = cpus === undefined
      ? runners
      : runners.filter((_, number) => cpus.includes(number));
    const isHalted = (runner: CpuRunner) => activityOf(runner).isHalted;
    if (!this.#isLeft || this.#runs.every(isHalted)) {
      for (const runner of this.#runs) activityOf(runner).isHalted = false;
    }
    this.#isLeft = false;
    if (this.#current !== undefined && !this.#runs.includes(this.#current)) this.#end();
  }

  /** Has the next run go on with this one, which has not come to its end. */
  leave(): void {
    this.#isLeft = true;
  }

  /**
   * Runs the CPUs by turns until one has an exit.
   *
   * @returns Which; undefined where all have halted, or wait for another to start them, or a device has asked for an
   *   event.
   */
  runToExit(): CpuRunner | undefined {
    if (this.#current !== undefined && this.#parts.slice.exited()) this.#end();
    for (;;) {
      const runner = this.#current ??= this.#choose();
      if (runner === undefined) return undefined;
      const { loop } = runner.parts;
      if (loop.runToExit()) {
        this.#idleTurns = 0;
        return this.#exited(runner);
      }
      this.#parts.inputs.interrupted(runner.parts.cpu.number);
      this.#end();
      if (this.#parts.hasEvent()) return undefined;
      const activity = activityOf(runner);
      activity.look();
      this.#idleTurns = activity.isIdle ? this.#idleTurns + 1 : 0;
      if (!activity.isStopped && !this.#hasIdled(activity)) continue;
      loop.noteHalt();
      return this.#exited(runner);
    }
  }

  /** Notes that the latest exit is that of a CPU. */
  #exited(runner: CpuRunner): CpuRunner {
    const { inputs, log } = this.#parts;
    inputs.exitOf(runner.parts.cpu.number, log.total);
    return runner;
  }

  /**
   * Takes a CPU whose exit was HLT out of the run.
   *
   * @returns Whether others are left.
   */
  park(runner: CpuRunner): boolean {
    activityOf(runner).isHalted = true;
    this.#end();
    // A handler may have woken one that had halted before.
    return this.#runs.some((each) =>
      !activityOf(each).isHalted || each !== runner && activityOf(each).canRun
    );
  }

  /** Whose turn it is, for {@linkcode CpuScheduler.restore}. */
  save(): CpuSchedulerState {
    const { runners, slice, interleaving } = this.#parts;
    return {
      policy: interleaving.state,
      current: this.#current && runners.indexOf(this.#current),
      left: slice.left,
      idleTurns: this.#idleTurns,
      isLeft: this.#isLeft,
    };
  }

  /** It is the same CPU's turn again. A slice of time is a new one. */
  restore({ policy, current, left, idleTurns, isLeft }: CpuSchedulerState): void {
    const { runners, slice, interleaving } = this.#parts;
    interleaving.state = policy;
    this.#idleTurns = idleTurns;
    this.#isLeft = isLeft;
    this.#current = undefined;
    if (current === undefined || left === undefined) return;
    this.#current = runners[current];
    slice.begin(activityOf(this.#current), left);
  }

  /** The machine was reset. */
  reset(): void {
    for (const runner of this.#parts.runners) activityOf(runner).reset();
    this.#end();
  }

  /** Lets one CPU run alone, for as long as it is run. */
  seize(runner: CpuRunner): void {
    this.#end();
    activityOf(runner).isHalted = false;
    const { slice, inputs, log } = this.#parts;
    inputs.exitOf(runner.parts.cpu.number, log.total + 1);
    slice.begin(activityOf(runner));
  }

  #end(): void {
    this.#current = undefined;
  }

  #choose(): CpuRunner | undefined {
    const { slice, interleaving, runners } = this.#parts;
    const runnable = this.#runs.filter((runner) => activityOf(runner).canRun);
    if (runnable.length > 0) {
      const { cpu, instructions } = interleaving.next(
        runnable.map((runner) => runner.parts.cpu.number),
      );
      slice.begin(activityOf(runners[cpu]), instructions, runners[cpu].parts.spin);
      return runners[cpu];
    }
    // No turn of the interleaving is spent on waiting: how long that takes is the host's affair.
    const idle = this.#runs.find((runner) => activityOf(runner).isIdle);
    if (idle !== undefined) slice.begin(activityOf(idle));
    return idle;
  }

  /** Whether a CPU whose turn is over has ended, because it waits, and so do all others. */
  #hasIdled(activity: ActivityState): boolean {
    return this.endsWaiting && activity.isIdle && this.#idleTurns >= LOOKS &&
      this.#runs.every((runner) => activityOf(runner).isWaiting);
  }
}

/** A runner's, of a machine with several CPUs. */
function activityOf({ parts: { activity } }: CpuRunner): ActivityState {
  if (activity === undefined) throw new TypeError("Cannot schedule the only CPU of a machine");
  return activity;
}
