import type { BenchmarkRun } from "../lib/bench/benchmark.ts";

/** What vmexit does and a C program beside it. */
export interface Comparison {
  /** Its own among all. */
  readonly name: string;
  /** What is compared, in a line for people. */
  readonly what: string;
  /** The C program, of `bench/baseline/`. */
  readonly baseline: string;
  /** How many operations a batch has: so few that most batches see no timer interrupt, which are not the subject. */
  readonly operations: number;
  /** How many operations vmexit does before it is measured, until all that takes part is compiled. */
  readonly warmUp: number;
  /** What vmexit is to take at most, in instructions, as a multiple of what C takes; undefined of what has no goal. */
  readonly goal?: number;
  /** It is measured once: what is done again is another thing. */
  readonly isOnce?: true;
}

/** What was measured of one: nanoseconds of an operation, which on the instruction clock are instructions. */
export interface Figures {
  /** C. */
  readonly c: number;
  /** vmexit. */
  readonly vmexit: number;
  /** vmexit's divided by C's. */
  readonly ratio: number;
}

/** Runs a C program of `bench/baseline/` and gives what it printed. */
export type RunBaseline = (source: string, ...args: readonly string[]) => string;

/** What a C program of `bench/baseline/` prints. */
interface BaselineReport {
  readonly operations: number;
  readonly nanoseconds: readonly number[];
}

/**
 * Measures both in turns, so that what slows the machine down for a while slows both. Of each the median of all its
 * batches counts.
 *
 * @param start vmexit's part.
 * @param rounds How many turns each has.
 * @param batches How many batches a turn has.
 */
export function compare(
  { baseline, operations, warmUp, isOnce }: Comparison,
  start: () => BenchmarkRun,
  options: { rounds: number; batches: number; run: RunBaseline },
): Figures {
  const { run } = options;
  const { rounds, batches } = isOnce ? { rounds: 1, batches: 1 } : options;
  const times = { c: [] as number[], vmexit: [] as number[] };
  using vmexit = start();
  for (let done = 0; done < warmUp; done += operations) vmexit.batch(operations);
  for (let round = 0; round < rounds; round++) {
    const report: BaselineReport = JSON.parse(run(baseline, `${operations}`, `${batches}`));
    times.c.push(...report.nanoseconds.map((time) => time / report.operations));
    for (let batch = 0; batch < batches; batch++) {
      const measured = vmexit.batch(operations);
      times.vmexit.push(measured.nanoseconds / measured.operations);
    }
  }
  const c = median(times.c);
  const ours = median(times.vmexit);
  return { c, vmexit: ours, ratio: ours / c };
}

/**
 * The middle one of some numbers: of an even number of them the lower of two, so that it is one that was measured.
 *
 * @throws {RangeError} When there are no numbers.
 */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) {
    throw new RangeError("Cannot take the median of no numbers: measure at least one batch");
  }
  return numbers.toSorted((a, b) => a - b)[(numbers.length - 1) >> 1];
}
