import type { CpuWait } from "./cpu_wait.ts";

/** How long a slice of time is, in milliseconds. It is not stretched on slow hosts. */
export const SLICE_MILLISECONDS = 2;

/**
 * How many signals in a row a turn of instructions sees without one that ends. An interrupt's handler is executed as
 * part of the instruction that it interrupts: one that loops must not hold up the machine.
 */
const MOST_SIGNALS = 5;

/** The turn of the CPU that runs, where a machine has several. */
export class CpuTurn {
  #wait: CpuWait | undefined;
  /** What is left of it, in instructions; undefined for a slice of time. */
  #left: number | undefined;
  #end = 0;
  #signals = 0;

  /** Begins a CPU's turn: of so many instructions, or of a slice of time. */
  begin(wait: CpuWait, instructions: number | undefined): void {
    this.#wait = wait;
    this.#left = instructions;
    this.#signals = 0;
    this.#end = performance.now() + SLICE_MILLISECONDS;
  }

  /** Whether it is over. To be asked after an instruction. */
  stepped(): boolean {
    this.#signals = 0;
    return this.#left !== undefined && --this.#left <= 0;
  }

  /**
   * Whether it is over. To be asked after a signal. A turn of instructions is not, lest it depend on the host's time,
   * unless its CPU waits.
   */
  interrupted(): boolean {
    if (this.#left === undefined || ++this.#signals >= MOST_SIGNALS) return true;
    this.#wait!.look();
    return !this.#wait!.canRun;
  }

  /** Whether it is over. To be asked after an exit. */
  exited(): boolean {
    return this.#left === undefined && performance.now() >= this.#end;
  }
}
