import { asyncError, isPromise, type NoPromise } from "../../devices/handlers.ts";
import { namedError } from "../run/run_errors.ts";
import type { RunProgress } from "../run/run_progress.ts";
import type { Snapshot } from "./snapshot.ts";

/** As many bytes as are written one by one. */
const SHORT_BYTES = 64;

/** What takes snapshots of a machine, and restores them. */
interface TakesSnapshots {
  take(): Snapshot;
  restore(snapshot: Snapshot): void;
}

/** Gives one machine's guest one input after the other, each from the same state. */
export class Inputs {
  readonly #snapshots: TakesSnapshots;
  readonly #progress: RunProgress;

  /** Of the machine whose snapshots these are, and whose progress. */
  constructor(snapshots: TakesSnapshots, progress: RunProgress) {
    this.#snapshots = snapshots;
    this.#progress = progress;
  }

  /** See {@linkcode Machine.forEachInput}. */
  forEach<Input>(
    inputs: Iterable<Input>,
    body: (input: Input, index: number) => NoPromise,
  ): void {
    if (typeof body !== "function") {
      throw new TypeError(
        `Cannot try inputs with ${typeof body}: give a function that gives the guest its input, runs it and asserts`,
      );
    }
    if (typeof inputs?.[Symbol.iterator] !== "function") {
      throw new TypeError(`Cannot try ${typeof inputs} as inputs: give a list of them`);
    }
    const start = this.#snapshots.take();
    let index = 0;
    try {
      for (const input of inputs) {
        try {
          this.attempt(start, () => body(input, index));
        } catch (error) {
          const text = inputText(input);
          throw namedError(error, `Input ${index} fails (alone: forEachInput([${text}], …))`);
        }
        index++;
      }
    } finally {
      this.#snapshots.restore(start);
    }
    if (index > 0) return;
    throw new TypeError("Cannot try inputs: there are none, so that nothing would be tested");
  }

  /**
   * Has the guest begin at `start`, as one that has not run since: what is asked of it without a run is an error.
   *
   * @throws {TypeError} When `body` has not run it.
   */
  attempt(start: Snapshot, body: () => NoPromise): void {
    this.#snapshots.restore(start);
    this.#progress.hasRun = false;
    const result = body();
    if (isPromise(result)) throw asyncError(result, "try an input by an async function");
    if (this.#progress.hasRun) return;
    throw new TypeError(
      "Cannot tell whether the guest takes its input: the function has not run it. Let it call vm.run(), or expect a " +
        "transcript.",
    );
  }
}

/** An input as an expression that gives it again. */
export function inputText(input: unknown): string {
  if (!(input instanceof Uint8Array)) {
    return typeof input === "string" ? JSON.stringify(input) : Deno.inspect(input, { depth: 9 });
  }
  return input.length <= SHORT_BYTES
    ? `new Uint8Array([${Array.from(input, (byte) => `0x${byte.toString(16)}`).join(", ")}])`
    : `Uint8Array.fromBase64("${input.toBase64()}")`;
}
