import type { Board } from "../board.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import type { Postmortem, PostmortemResult } from "../report/postmortem.ts";
import { exitText } from "../report/exit_text.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { incidentOf } from "./incident_of.ts";
import { putBack } from "./steps.ts";
import { LoopError, type Steps, stepToEnd } from "./step_to_end.ts";

/** Finds out why the guest of a machine has shut down, by running it once more. */
export class Examiner implements Disposable {
  readonly #what: RunToRepeat;
  #known: { readonly of: string; readonly result: PostmortemResult } | undefined;
  #run: RepeatedRun | undefined;

  /** That of one machine. */
  constructor(what: RunToRepeat) {
    this.#what = what;
  }

  /**
   * Runs the guest once more up to its latest exit, a SHUTDOWN: on a machine of its own, which lives until the next, or
   * until this one is disposed.
   */
  examine(): PostmortemResult {
    const { log: { total }, inputs: { timesBegun } } = this.#what.original;
    const of = `${timesBegun}:${total}`;
    if (this.#known?.of === of) return this.#known.result;
    this[Symbol.dispose]();
    const result = this.#examine(total);
    this.#known = { of, result };
    return result;
  }

  #examine(exit: number): PostmortemResult {
    if (emulatorLacks("singleStep")) {
      return { obstacle: "this host's KVM executes no single steps" };
    }
    try {
      try {
        return this.#repeat(exit, true);
      } catch (error) {
        if (!(error instanceof LoopError)) throw error;
        this[Symbol.dispose]();
        return this.#repeat(exit, false);
      }
    } catch (error) {
      if (error instanceof RepeatError) return { obstacle: error.message };
      throw error;
    }
  }

  #repeat(exit: number, skipsLoops: boolean): Postmortem {
    const run = this.#run = new RepeatedRun(this.#what);
    run.runTo(exit - 1);
    return found(run, stepToEnd(run, skipsLoops), this.#what.original);
  }

  /** Ends the machine on which it was run. */
  [Symbol.dispose](): void {
    this.#run?.[Symbol.dispose]();
    this.#run = undefined;
  }
}

function found(run: RepeatedRun, steps: Steps, original: Board): Postmortem {
  if (steps.exit.reason !== "SHUTDOWN") {
    throw new RepeatError(
      `it went another way: exit ${run.exit + 1} was ${exitText(steps.exit)} instead of SHUTDOWN`,
    );
  }
  const [cpu] = run.board.cpus;
  const last = steps.moments.at(-1)!;
  // At the triple fault KVM has reset it.
  putBack(cpu, last);
  return {
    cpu,
    incident: incidentOf(cpu, steps, original.cpus[0].bootRegisters),
    stepCount: steps.count,
    isMore: steps.isMore,
    doubt: doubtOf(run, original),
  };
}

function doubtOf(run: RepeatedRun, original: Board): string | undefined {
  if (run.isLate) {
    return "something came to the guest between two exits, nobody knows at which instruction";
  }
  if (original.hasViews) return "somebody holds guest memory itself (vm.memory.view)";
  return undefined;
}
