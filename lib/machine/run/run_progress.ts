import type { ExitPort } from "../../devices/exit_port.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { CpuRunner, CpuRunState } from "./cpu_runner.ts";
import type { CpuScheduler, CpuSchedulerState } from "./cpu_scheduler.ts";

/** Whose progress it is. */
interface RunProgressInit {
  readonly runners: readonly CpuRunner[];
  readonly scheduler: CpuScheduler | undefined;
  readonly exitPort: ExitPort | undefined;
  readonly checkUsable: (what: string) => void;
}

/** How far a machine's guest had come at some time. */
export interface RunState {
  readonly runner: number;
  readonly halt: Exit | undefined;
  readonly hasRun: boolean;
  readonly cpus: readonly CpuRunState[];
  readonly scheduler: CpuSchedulerState | undefined;
  readonly exitPort: ReturnType<ExitPort["save"]> | undefined;
}

/** How far a machine's guest has come. */
export class RunProgress {
  /** The CPU of the latest exit. */
  runner: CpuRunner;
  /** The latest HLT of this run, of a CPU that has not gone on since. */
  halt: Exit | undefined;
  /** Whether the guest, or a handler of its exits, is running. */
  isRunning = false;
  /** Whether the guest has been run at all. */
  hasRun = false;
  readonly #parts: RunProgressInit;

  /** That of a guest which has not run. */
  constructor(parts: RunProgressInit) {
    this.#parts = parts;
    this.runner = parts.runners[0];
  }

  /** All of it, of a guest that stands between two instructions. */
  save(): RunState {
    const { runners, scheduler, exitPort } = this.#parts;
    return {
      runner: runners.indexOf(this.runner),
      halt: this.halt,
      hasRun: this.hasRun,
      cpus: runners.map((runner) => runner.save()),
      scheduler: scheduler?.save(),
      exitPort: exitPort?.save(),
    };
  }

  /** The guest has come as far as then. Its CPUs' registers are set already. */
  restore({ runner, halt, hasRun, cpus, scheduler, exitPort }: RunState): void {
    const { runners } = this.#parts;
    this.runner = runners[runner];
    this.halt = halt;
    this.hasRun = hasRun;
    for (const [number, each] of runners.entries()) each.restore(cpus[number]);
    if (scheduler !== undefined) this.#parts.scheduler?.restore(scheduler);
    if (exitPort !== undefined) this.#parts.exitPort?.restore(exitPort);
  }

  /** What a run ends with where no CPU can go on. @throws {TypeError} When none has halted. */
  lastHalt(): Exit {
    if (this.halt !== undefined) return this.halt;
    throw new TypeError(
      "Cannot run the machine: all of its CPUs wait for a SIPI, and none is left to send one",
    );
  }

  /**
   * Checks that nobody runs the guest.
   *
   * @throws {TypeError} When it runs, or a routine is being called, or the machine is disposed.
   */
  checkIsFree(what: string): void {
    const { runners, checkUsable } = this.#parts;
    checkUsable(what);
    if (this.isRunning) {
      throw new TypeError(
        `Cannot ${what}: the machine is running. Do it between two runs: vm.stop() in a handler ends one.`,
      );
    }
    if (!runners.some(({ parts: { loop } }) => loop.isCalling)) return;
    throw new TypeError(
      `Cannot ${what}: a routine is being called, exit by exit. Let it return, or leave its loop by break.`,
    );
  }

  /**
   * Checks that the guest stands between two instructions.
   *
   * @throws {TypeError} When it runs, or waits for an answer, or the machine is disposed.
   */
  checkStopped(what: string): void {
    this.#parts.checkUsable(what);
    if (this.isRunning) {
      throw new TypeError(`Cannot ${what}: the machine is running. Do it between two runs.`);
    }
    if (this.runner.parts.loop.unanswered) {
      throw new TypeError(
        `Cannot ${what}: the guest's latest exit waits for its answer. Give it one with vm.answer(…) first.`,
      );
    }
  }

  /**
   * Checks that all CPUs stand between two instructions.
   *
   * @throws {TypeError} When one does not.
   */
  checkIsBetweenInstructions(what: string): void {
    for (const { parts: { loop } } of this.#parts.runners) {
      if (loop.unanswered) {
        throw new TypeError(
          `Cannot ${what}: the guest's latest exit waits for its answer. Give it one with vm.answer(…) first.`,
        );
      }
      if (loop.isInMiddle) {
        throw new TypeError(
          `Cannot ${what}: the guest is in the middle of an instruction that has more exits. Run it on first, by ` +
            "vm.step() or vm.run().",
        );
      }
    }
  }
}
