import type { AnswerFields, Exit } from "../../kvm/exits/exit.ts";
import { nearestNames } from "../../x86/nearest_names.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";

/** How one run is made. */
export interface RunOptions {
  /**
   * How long it may take, in milliseconds, before `VMEXIT_TIMEOUT_SCALE`. The machine's own limit by default.
   */
  readonly timeout?: number;
  /**
   * `"shutdown"`: the guest is to triple-fault, and the run ends with SHUTDOWN; that it halts instead is an error.
   *
   * `"halted"`: the run ends with HLT as soon as the guest waits in HLT, though an interrupt could wake it. It counts
   * for machines with a local APIC (the option `irqchip`), whose HLT waits in the kernel: the others end at each HLT.
   * A guest that waits for its timer counts as well. It is found out after 5 to 10 ms.
   */
  readonly until?: "halted" | "shutdown";
}

const OF_RUNS: readonly string[] = ["timeout", "until"];

/**
 * Checks the names of a run's options.
 *
 * @param more Those that this kind of run has beside `timeout` and `until`.
 * @throws {TypeError} When there is no option of a name.
 */
export function checkRunOptions(options: object, more: readonly string[] = []): void {
  const known = [...OF_RUNS, ...more];
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TypeError(
    `Cannot run the machine with the option ${unknown}: there is none of that name; the nearest are ${
      nearestNames(unknown, known).join(", ")
    }`,
  );
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
   * Asked first at every exit, with the number of its CPU. What it answers, no device sees; undefined hands the exit
   * on to the devices.
   */
  readonly before?: (
    exit: Exit,
    fault: CaughtFault | undefined,
    cpu: number,
  ) => ExitAnswer | undefined;
  /** The numbers of the CPUs that run; the others stand still. Default all. */
  readonly cpus?: readonly number[];
}

/** An exit as {@linkcode Machine.exits} gives it. */
export interface ObservedExit {
  /** Which exit of the machine it is, from 1. */
  readonly number: number;
  /** The number of the CPU whose exit it is. */
  readonly cpu: number;
  /** The exit, decoded. */
  readonly exit: Exit;
  /**
   * The guest's fault, where the exit is one by which its fault catcher reports one (the option `catchFaults`);
   * it is the last of its iteration.
   */
  readonly fault: CaughtFault | undefined;
  /**
   * What answered it, or undefined: then a read must be answered with {@linkcode Machine.answer} before the
   * machine runs on.
   */
  readonly answeredBy: string | undefined;
  /** The value that was written or answered, of the first element; undefined where there is none. */
  readonly value: bigint | undefined;
}
