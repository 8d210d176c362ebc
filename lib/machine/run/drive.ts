import { timed } from "../../guest/time_spent.ts";
import type { CpuRunner } from "./cpu_runner.ts";
import type { CpuScheduler } from "./cpu_scheduler.ts";
import { RunEnds } from "./run_ends.ts";
import { TimeLimitError } from "./run_errors.ts";
import type { ObservedExit, RunOptions } from "./run_options.ts";
import type { RunProgress } from "./run_progress.ts";
import { RunTime, type TimeLimit } from "./time_limit.ts";

/** What driving a machine needs of it. */
export interface DriveInit {
  /** Its CPUs, by number. */
  readonly runners: readonly CpuRunner[];
  /** Who gives them their turns, where there are several. */
  readonly scheduler: CpuScheduler | undefined;
  readonly limit: TimeLimit;
  /** The time limit of a run that is given none, in milliseconds, before it is scaled. */
  readonly timeout: number;
  /** Throws where the machine is disposed. */
  readonly checkUsable: (what: string) => void;
  /** How a run may end. */
  readonly ends: RunEnds;
  /** Called before each run. */
  readonly beforeRun: () => void;
  /** Whether the guest's memory is seen without being asked for. */
  readonly isMemoryViewed: () => boolean;
}

/** What holds around any run of a machine's guest: that nobody else runs it, the time limit, and what is left behind. */
export class Drive {
  /** Whether the run is to end at the latest exit. */
  stopAsked = false;
  readonly #parts: DriveInit;
  readonly #progress: RunProgress;

  /** That of one machine. */
  constructor(parts: DriveInit, progress: RunProgress) {
    this.#parts = parts;
    this.#progress = progress;
  }

  /** The time that the stretches of a run may take together. */
  timeOf(options: RunOptions): RunTime {
    return new RunTime(this.#milliseconds(options), true);
  }

  #milliseconds({ timeout = this.#parts.timeout }: RunOptions): number {
    return this.#parts.limit.scaled(timeout);
  }

  /** Runs `body` under the time limit, with all that holds around any run of the guest. */
  run<Result>(options: RunOptions, body: () => Result, time?: RunTime): Result {
    const { limit } = this.#parts;
    let isWhole = false;
    const limited = this.#begins(options, time);
    try {
      limit.start(limited);
      const result = timed("running guests", body);
      isWhole = true;
      return result;
    } finally {
      this.#progress.isRunning = false;
      this.#settle(isWhole);
    }
  }

  /**
   * The same of one exit of an iteration, which takes one call of the kernel: the time limit is kept for the next, and KVM
   * finishes the exit then, unless somebody looks at what it has done. Where nothing else has run meanwhile, all is set up.
   */
  goOn(
    options: RunOptions,
    time: RunTime,
    body: () => ObservedExit | undefined,
  ): ObservedExit | undefined {
    const { limit, scheduler, beforeRun, isMemoryViewed } = this.#parts;
    const progress = this.#progress;
    if (scheduler !== undefined) return this.run(options, body, time);
    const isKept = limit.isKeptFor(time) && !progress.isRunning;
    if (!isKept) this.#begins(options, time);
    let observed: ObservedExit | undefined;
    try {
      if (isKept) {
        progress.isRunning = true;
        this.stopAsked = false;
        beforeRun();
      } else limit.keep(time);
      observed = timed("running guests", body);
    } catch (error) {
      progress.isRunning = false;
      this.#settle(false);
      throw error;
    }
    progress.isRunning = false;
    if (observed === undefined) this.#settle(true);
    else progress.runner.parts.loop.leaveUnfinished(isMemoryViewed);
    return observed;
  }

  /** An iteration is over, unless it is a handler that says so while the guest runs. */
  leave(time: RunTime | undefined, why: "done" | "failed" | "left"): void {
    if (time === undefined || this.#progress.isRunning) return;
    if (this.#parts.limit.isKeptFor(time)) this.#settle(why !== "failed");
  }

  /** Checks that the machine can be run, and sets it up for that. */
  #begins(options: RunOptions, time?: RunTime): RunTime {
    const { until } = options;
    const { runners, scheduler, ends, checkUsable, beforeRun } = this.#parts;
    checkUsable("run the machine");
    RunEnds.checkUntil(until);
    ends.checkIsAlive(runners);
    if (this.#progress.isRunning) {
      throw new TypeError(
        "Cannot run the machine: it is running already. A handler answers an exit; it cannot run the machine that waits for its answer.",
      );
    }
    const limited = time ?? new RunTime(this.#milliseconds(options));
    const { milliseconds, used } = limited;
    if (used >= milliseconds) {
      throw new TimeLimitError(this.#progress.runner.parts.cpu, milliseconds);
    }
    beforeRun();
    this.#progress.isRunning = true;
    this.#progress.hasRun = true;
    this.stopAsked = false;
    ends.until = until;
    const endsWaiting = until === "halted";
    const { halt } = runners[0].parts;
    if (halt !== undefined) halt.endsWaiting = endsWaiting;
    for (const { parts: { loop } } of runners) loop.endsWaiting = endsWaiting;
    if (scheduler !== undefined) scheduler.endsWaiting = endsWaiting;
    return limited;
  }

  /** Ends a run. What fails here does not take the place of the error that ended it. */
  #settle(isWhole: boolean): void {
    const { runners, limit } = this.#parts;
    try {
      try {
        limit.stop();
      } finally {
        for (const { parts: { loop } } of runners) loop.complete();
      }
    } catch (error) {
      if (isWhole) throw error;
    }
  }
}
