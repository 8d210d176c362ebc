import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { Board } from "../board.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import type { Postmortem, PostmortemResult } from "../report/postmortem.ts";
import { codeLocation } from "../registers/code_location.ts";
import { recordText } from "../report/exit_text.ts";
import { isOutsideImage } from "../report/outside_image.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { incidentOf } from "./incident_of.ts";
import { type Moment, momentOf, putBack } from "./steps.ts";
import { otherWay, type Steps, stepToEnd, SuspectError } from "./step_to_end.ts";

/**
 * How long a run may take each time that it is repeated, and all of them together, in milliseconds: a page is waited for by
 * somebody. They take tenths of a second on a host that has nothing else to do.
 */
const LONGEST_MILLISECONDS = { each: 5_000, all: 10_000 } as const;

/** The most exits behind which a guest is stepped from the start. */
const MOST_EXITS_STEPPED = 100;

/** What is tried, one after the other: the first has all of the guest's history, the last is the slowest. */
const ATTEMPTS = [
  { from: "start", most: 1_500, skipsLoops: true },
  { from: "last exit", most: 5_000, skipsLoops: true },
  { from: "last exit", most: 5_000, skipsLoops: false },
] as const;

/** Finds out how the guest of a machine came to where it is, by running it once more. */
export class Examiner implements Disposable {
  readonly #what: RunToRepeat;
  #known: { readonly of: string; readonly result: PostmortemResult } | undefined;
  #run: RepeatedRun | undefined;

  /** That of one machine. */
  constructor(what: RunToRepeat) {
    this.#what = what;
  }

  /**
   * Runs the guest once more up to its latest exit: on a machine of its own, which lives until the next, or
   * until this one is disposed. Undefined of one that has not run, or that the test has stopped itself.
   */
  examine(): PostmortemResult | undefined {
    const { hasRun, log: { total, latest }, inputs: { timesBegun } } = this.#what.original;
    if (!hasRun || latest?.reason === EXIT_REASON.DEBUG) return undefined;
    const of = `${timesBegun}:${total}`;
    if (this.#known?.of === of) return this.#known.result;
    this[Symbol.dispose]();
    const result = this.#examine(total);
    this.#known = { of, result };
    return result;
  }

  /** Puts a CPU that KVM has reset at a triple fault before the instruction that failed: it fails there again. */
  standAtFault(): void {
    const { exitingCpu: cpu, log } = this.#what.original;
    if (log.latest?.reason !== EXIT_REASON.SHUTDOWN) return;
    const result = this.examine();
    if (result !== undefined && "cpu" in result) putBack(cpu, momentOf(this.#run!.cpu));
  }

  #examine(exits: number): PostmortemResult {
    if (emulatorLacks("singleStep")) {
      return { obstacle: "this host's KVM executes no single steps" };
    }
    const { inputs: { firstExit }, exitingCpu: cpu, cpus } = this.#what.original;
    if (cpus.length > 1 && !cpu.isAtExit) {
      return { obstacle: "it has several CPUs, and was stopped between two exits" };
    }
    const { linear: strayedAt } = isOutsideImage(cpu) ? codeLocation(cpu) : { linear: undefined };
    // One that a time limit has stopped has no exit there.
    const end = cpu.isAtExit ? exits : exits + 1;
    const deadline = performance.now() + LONGEST_MILLISECONDS.all;
    let obstacle = "";
    let stops: ReadonlyMap<number, Moment> | undefined;
    for (const { from, ...options } of ATTEMPTS) {
      const first = from === "start" ? firstExit : end - 1;
      if (end - first > MOST_EXITS_STEPPED) continue;
      const suspects = new Set<bigint>();
      for (let again = true; again;) {
        again = false;
        try {
          stops ??= this.#stops();
          const left = Math.max(1, deadline - performance.now());
          const longest = Math.ceil(Math.min(left, LONGEST_MILLISECONDS.each));
          const run = this.#run = new RepeatedRun(this.#what, longest);
          if (first < end - 1 && !run.isOfOneCpu) throw new RepeatError("it has several CPUs");
          run.runTo(first);
          const steps = stepToEnd(run, { exits: end, strayedAt, suspects, stops, ...options });
          return found(run, steps, this.#what.original);
        } catch (error) {
          if (!(error instanceof RepeatError)) throw error;
          obstacle = error.message;
          this[Symbol.dispose]();
          again = error instanceof SuspectError;
          if (error instanceof SuspectError) suspects.add(error.suspect);
        }
      }
    }
    return { obstacle };
  }

  /** Where the guest stood whenever the test had stopped it. */
  #stops(): ReadonlyMap<number, Moment> {
    const { log, inputs: { firstExit } } = this.#what.original;
    const stops = new Map<number, Moment>();
    const records = log.records().filter(({ reason, number }) =>
      reason === EXIT_REASON.DEBUG && number > firstExit
    );
    if (records.length === 0) return stops;
    using run = new RepeatedRun(this.#what, LONGEST_MILLISECONDS.each);
    for (const { number } of records) {
      run.runUpTo(number);
      stops.set(number, momentOf(run.cpu));
    }
    return stops;
  }

  /** Ends the machine on which it was run. */
  [Symbol.dispose](): void {
    this.#run?.[Symbol.dispose]();
    this.#run = undefined;
  }
}

function found(run: RepeatedRun, steps: Steps, original: Board): Postmortem {
  checkIsEnd(run, steps, original);
  const { cpu } = run;
  const last = steps.moments.at(-1)!;
  // At the triple fault KVM has reset it.
  putBack(cpu, last);
  run.rest();
  return {
    cpu,
    incident: incidentOf(cpu, steps, original.exitingCpu.bootRegisters),
    stepCount: steps.count,
    isMore: steps.isMore,
    hasStrayed: steps.exit === undefined,
    doubt: doubtOf(run, original),
  };
}

/** @throws {RepeatError} When it has not ended as the first run did. */
function checkIsEnd(run: RepeatedRun, { exit }: Steps, { log, exitingCpu: cpu }: Board): void {
  const record = cpu.isAtExit ? log.latestOf(cpu.number) : undefined;
  if (exit === undefined || exit.number === record?.reason) return;
  const then = record === undefined ? "being stopped by the time limit" : recordText(record);
  throw new RepeatError(`${otherWay(run, exit)} instead of ${then}`);
}

function doubtOf(run: RepeatedRun, original: Board): string | undefined {
  if (run.isLate) {
    return "something came to the guest between two exits, nobody knows at which instruction";
  }
  if (original.hasViews) return "somebody holds guest memory itself (vm.memory.view)";
  return undefined;
}
