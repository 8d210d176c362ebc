import type { Benchmark, BenchmarkGroup } from "../benchmark.ts";
import { warmed } from "./guest_benchmark.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** An operation that takes long enough to be timed by itself. */
export interface TimedOperation {
  /** What comes before each, and is not counted. */
  before?(): void;
  /** What is timed. */
  operation(): void;
  /** What comes behind each, and is not counted; throws where it has not done its work. */
  after?(): void;
}

/** A benchmark of such operations. */
export interface TimedBenchmark {
  readonly name: string;
  readonly group: BenchmarkGroup;
  readonly what: string;
  lacks?(): string | undefined;
  /** @param cleanup Disposed when the benchmark is. */
  start(cleanup: DisposableStack): TimedOperation;
}

/** A benchmark that times each operation by itself: its histogram is of operations. */
export function timedBenchmark({ name, group, what, lacks, start }: TimedBenchmark): Benchmark {
  return {
    name,
    group,
    what,
    lacks,
    start() {
      using starting = new DisposableStack();
      const timed = start(starting);
      const cleanup = starting.move();
      return warmed({
        batch(operations) {
          const each = new Float64Array(operations);
          for (let index = 0; index < operations; index++) {
            timed.before?.();
            const begun = performance.now();
            timed.operation();
            each[index] = (performance.now() - begun) * NANOSECONDS_PER_MILLISECOND;
            timed.after?.();
          }
          return { operations, each, nanoseconds: each.reduce((sum, one) => sum + one, 0) };
        },
        [Symbol.dispose]: () => cleanup.dispose(),
      });
    },
  };
}
