import type { NoPromise } from "../../devices/handlers.ts";
import type { SourceLine } from "../../guest/image_init.ts";

/**
 * How it is found out which instructions a guest executes.
 *
 * - `"int3"`: an `int3` in the place of each instruction's first byte, which is put back when it is reached.
 * - `"hlt"`: a `hlt` likewise, where `int3` makes no exit (in the emulated machine of QEMU) and `hlt` does.
 * - `"step"`: the guest is single-stepped; of what an exception or an interrupt calls it sees nothing.
 */
export type CoverageMeans = "int3" | "hlt" | "step";

/** A source line of the guest that is an instruction, and whether it was executed. */
export interface LineCoverage extends SourceLine {
  /** The lines of the calls by which a compiler has inlined it there, the innermost first. */
  readonly callers: readonly Pick<SourceLine, "file" | "line">[];
  /** Whether the guest has begun to execute it. */
  readonly isReached: boolean;
}

/** Which instructions of its guest a machine has executed: `vm.coverage`. */
export interface Coverage {
  /** How it is found out, now: it may come to be by steps. */
  readonly means: CoverageMeans;
  /** Why something may not have been seen, in words; empty where all was. */
  readonly gaps: readonly string[];
  /** The lines of the guest that are instructions, by address. */
  readonly lines: readonly LineCoverage[];
  /** How many of them it has reached, as a number that costs nothing. */
  readonly reached: number;
  /** Called with each line that is reached for the first time, in the order in which they are. */
  onReach: ((line: SourceLine) => NoPromise) | undefined;
}
