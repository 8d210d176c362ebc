import { toldAt } from "./run_errors.ts";
import type { ObservedExit } from "./run_options.ts";

/** What an iteration over exits consists of. */
export interface IterationSteps {
  /** Runs the guest to its next exit; undefined at the end. */
  next(): ObservedExit | undefined;
  /** Called once, when there is no next step: at the end, or where one has failed, or where the loop was left before. */
  end(why: "done" | "failed" | "left"): void;
}

/**
 * An iteration over exits. It is what a generator would be, whose frame is put away and brought back at each exit; and the
 * stack of an error about the guest begins at the line that asks for the next.
 */
export class ExitIteration extends Iterator<ObservedExit, void, void>
  implements Generator<ObservedExit, void, void> {
  readonly #steps: IterationSteps;
  #isOver = false;

  /** One that has not begun. */
  constructor(steps: IterationSteps) {
    super();
    this.#steps = steps;
  }

  /** See `Generator`. */
  override next(): IteratorResult<ObservedExit, void> {
    if (!this.#isOver) {
      let value: ObservedExit | undefined;
      try {
        value = this.#steps.next();
      } catch (error) {
        this.#end("failed");
        throw toldAt(this.next, error);
      }
      if (value !== undefined) return { done: false, value };
      this.#end("done");
    }
    return { done: true, value: undefined };
  }

  /** See `Generator`. */
  override return(): IteratorResult<ObservedExit, void> {
    if (!this.#isOver) this.#end("left");
    return { done: true, value: undefined };
  }

  /** See `Generator`. */
  override throw(error: unknown): IteratorResult<ObservedExit, void> {
    this.return();
    throw error;
  }

  /** Itself. */
  override [Symbol.iterator](): this {
    return this;
  }

  /** Ends it, where it has not come to its end. */
  override [Symbol.dispose](): void {
    this.return();
  }

  #end(why: "done" | "failed" | "left"): void {
    this.#isOver = true;
    this.#steps.end(why);
  }
}
