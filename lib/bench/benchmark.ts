/** What benchmarks are sorted by. */
export type BenchmarkGroup =
  | "exits to user space"
  | "exits in the kernel"
  | "life cycle"
  | "memory";

/** So many operations in a row, and how long they took. */
export interface Batch {
  /** How many there were: as many as were asked for. */
  readonly operations: number;
  /** How long all of them took, without what began and ended them. */
  readonly nanoseconds: number;
  /** The same by the guest's TSC, where the guest measured itself. */
  readonly cycles?: number;
  /** How many VM exits KVM counted meanwhile, where that was asked; a few more than the operations', by timers. */
  readonly exits?: number;
  /**
   * Nanoseconds of each operation, where they were measured one by one. Then percentiles and the histogram are of
   * operations; else they are of batches' means, which hide what happens to one in a thousand.
   */
  readonly each?: ArrayLike<number>;
}

/** A benchmark that stands ready: its machine is booted. */
export interface BenchmarkRun extends Disposable {
  /** How fast the TSC counts by which {@linkcode Batch.cycles} are, in kHz (`KVM_GET_TSC_KHZ`). */
  readonly tscKhz?: number;
  /**
   * Does it so often, and says how long that took.
   *
   * @param operations How often, at least 1.
   * @throws When the guest did not do what it was to do: a figure of something else is worse than none.
   */
  batch(operations: number): Batch;
}

/** One line of the suite. */
export interface Benchmark {
  /** Its own among all: `"pio_out_8"`. */
  readonly name: string;
  /** Under which heading it is shown. */
  readonly group: BenchmarkGroup;
  /** What is measured, in a line for people. */
  readonly what: string;
  /** Why this host cannot do it, or undefined. It is asked before {@linkcode start}. */
  lacks?(): string | undefined;
  /** Boots its machine. */
  start(): BenchmarkRun;
}
