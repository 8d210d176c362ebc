import type { CpuLane } from "./cpu_lane.ts";
import type { CpuTurn, Interleaving } from "./interleaving.ts";
import type { CpuWait } from "./cpu_wait.ts";

/** How often CPUs must be found idle in a row: what a thread of the kernel's brings may be on its way. */
const LOOKS = 2;

/** What a scheduler needs of its machine. */
export interface CpuSchedulerParts {
  /** Its CPUs, by number. */
  readonly lanes: readonly CpuLane[];
  /** The turn that their loops ask about. */
  readonly turn: CpuTurn;
  /** Who decides about turns. */
  readonly interleaving: Interleaving;
}

/**
 * Gives the CPUs of a machine their turns on the one thread that there is. One that cannot run is passed over; where
 * none can, those that sit in HLT are run in slices, so that a timer or a device wakes them.
 */
export class CpuScheduler {
  /** Whether a CPU that waits in HLT has ended, though an interrupt could wake it. */
  endsWaiting = false;
  readonly #parts: CpuSchedulerParts;
  #current: CpuLane | undefined;
  #runs: readonly CpuLane[];
  /** How many turns in a row have ended in HLT. */
  #idleTurns = 0;

  /** A scheduler of CPUs that have not run yet. */
  constructor(parts: CpuSchedulerParts) {
    this.#parts = parts;
    this.#runs = parts.lanes;
  }

  /**
   * Begins a run: CPUs that have halted go on.
   *
   * @param cpus The numbers of those that run; undefined for all.
   */
  begin(cpus: readonly number[] | undefined): void {
    const { lanes } = this.#parts;
    this.#runs = cpus === undefined ? lanes : lanes.filter((_, number) => cpus.includes(number));
    for (const lane of this.#runs) waitOf(lane).isHalted = false;
    if (this.#current !== undefined && !this.#runs.includes(this.#current)) this.#end();
  }

  /**
   * Runs the CPUs by turns until one has an exit.
   *
   * @returns Which; undefined where all have halted, or wait for another to start them.
   */
  advance(): CpuLane | undefined {
    if (this.#current !== undefined && this.#parts.turn.exited()) this.#end();
    for (;;) {
      const lane = this.#current ??= this.#choose();
      if (lane === undefined) return undefined;
      const { loop } = lane.parts;
      if (loop.advance()) {
        this.#idleTurns = 0;
        return lane;
      }
      this.#end();
      const wait = waitOf(lane);
      wait.look();
      this.#idleTurns = wait.isIdle ? this.#idleTurns + 1 : 0;
      if (!wait.isStopped && !this.#hasIdled(wait)) continue;
      loop.noteHalt();
      return lane;
    }
  }

  /**
   * Takes a CPU whose exit was HLT out of the run.
   *
   * @returns Whether others are left.
   */
  park(lane: CpuLane): boolean {
    waitOf(lane).isHalted = true;
    this.#end();
    return this.#runs.some((each) => !waitOf(each).isHalted);
  }

  /** Lets one CPU run alone, for as long as it is run. */
  seize(lane: CpuLane): void {
    this.#end();
    waitOf(lane).isHalted = false;
    this.#parts.turn.begin(waitOf(lane), undefined);
  }

  #end(): void {
    this.#current = undefined;
  }

  #choose(): CpuLane | undefined {
    const { turn, interleaving, lanes } = this.#parts;
    const runnable = this.#runs.filter((lane) => waitOf(lane).canRun);
    if (runnable.length > 0) {
      const { cpu, instructions } = interleaving.next(
        runnable.map((lane) => lane.parts.cpu.number),
      );
      turn.begin(waitOf(lanes[cpu]), instructions);
      return lanes[cpu];
    }
    // No turn of the interleaving is spent on waiting: how long that takes is the host's affair.
    const idle = this.#runs.find((lane) => waitOf(lane).isIdle);
    if (idle !== undefined) turn.begin(waitOf(idle), undefined);
    return idle;
  }

  /** Whether a CPU whose turn is over has ended, because it waits, and so do all others. */
  #hasIdled(wait: CpuWait): boolean {
    return this.endsWaiting && wait.isIdle && this.#idleTurns >= LOOKS &&
      this.#runs.every((lane) => waitOf(lane).isWaiting);
  }
}

/** A lane's, of a machine with several CPUs. */
function waitOf({ parts: { wait } }: CpuLane): CpuWait {
  if (wait === undefined) throw new TypeError("Cannot schedule the only CPU of a machine");
  return wait;
}
