import { encodeHistogram } from "./histogram.ts";
import type { Batch, Benchmark, BenchmarkRun } from "./benchmark.ts";
import type { Measurement, Unmeasured } from "./results.ts";
import { median, summarize } from "./statistics.ts";

/**
 * How long a benchmark is given, in milliseconds: of its own clock, or of the clock on the wall where what lies between its
 * operations takes longer.
 */
export interface Effort {
  /** How long a batch lasts, at least; and long beside the clock's grain. */
  readonly batch: number;
  /** How many operations a batch has at most. */
  readonly mostOperations: number;
  /** How long it warms up at least, until it is steady. */
  readonly warmUp: number;
  /** How many operations it warms up at least: the run loop is compiled anew after some 20,000 exits. */
  readonly warmUpOperations: number;
  /** After so long it counts as warm, whatever it lacks. */
  readonly longestWarmUp: number;
  /** How long batches are counted. */
  readonly duration: number;
  /** How many batches are counted at least. */
  readonly batches: number;
  /** After so long, with what lies between the batches, there are enough of them whatever their number. */
  readonly limit: number;
}

/** More operations than any clock needs. */
const MOST_OPERATIONS = 2 ** 24;

/** Enough to be trusted: a JIT that is warm, and a narrow interval of the median. */
export const THOROUGH: Effort = {
  batch: 1,
  mostOperations: MOST_OPERATIONS,
  warmUp: 300,
  warmUpOperations: 30_000,
  longestWarmUp: 1500,
  duration: 1000,
  batches: 30,
  limit: 20_000,
};

/** Enough to see that everything works, and what is ten times slower. */
export const QUICK: Effort = {
  batch: 0.5,
  mostOperations: MOST_OPERATIONS,
  warmUp: 20,
  warmUpOperations: 1000,
  longestWarmUp: 200,
  duration: 100,
  batches: 10,
  limit: 3000,
};

/**
 * The same on the instruction clock: figures repeat there, so that what is counted longer says no more; and the clock leaps
 * whenever the machine waits for its disk, so that a limit says little. What is one instruction to that clock may cost the
 * emulator much, such as one that empties its TLB.
 */
export function byInstructions(effort: Effort): Effort {
  return {
    ...effort,
    mostOperations: 2 ** 15,
    warmUp: effort.warmUp / 10,
    duration: effort.duration / 10,
    limit: effort.limit * 10,
  };
}

/** A batch is so many times as long as what the clock cannot tell apart: an error of a thousandth. */
const GRAINS = 1000;

/** How often a number of operations is tried before it is found too small. */
const TRIES = 3;

/** A try that lasts so long is not made longer, however little of it is the operations' own. */
const LONGEST_TRY_MILLISECONDS = 80;

/** What is compared when it is asked whether a benchmark is steady: the last so many batches with those before. */
const WINDOW = 10;

/** It is steady when the medians of two windows differ by no more. */
const STEADY = 0.05;

/** So often the event loop gets its turn: a signal must be heard. */
const TURN_MILLISECONDS = 50;

const NANOSECONDS_PER_MILLISECOND = 1e6;

/**
 * What `performance.now()` cannot tell apart, in nanoseconds: its grain, or how long it takes itself, whichever is
 * greater.
 */
export function clockGrain(now: () => number = () => performance.now()): number {
  const steps: number[] = [];
  for (let previous = now(); steps.length < GRAINS;) {
    const next = now();
    if (next === previous) continue;
    steps.push((next - previous) * NANOSECONDS_PER_MILLISECOND);
    previous = next;
  }
  return median(steps);
}

/** What goes with a measurement. */
export interface MeasureOptions {
  /** How long it may take. */
  readonly effort: Effort;
  /** See {@linkcode clockGrain}. */
  readonly grain: number;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/**
 * Measures a benchmark: finds how many operations a batch needs, warms up until that is steady, and counts batches.
 *
 * @returns Its figures; or why there are none: what the host lacks, or what went wrong.
 * @throws What `signal` was aborted with.
 */
export async function measure(
  benchmark: Benchmark,
  options: MeasureOptions,
): Promise<Measurement | Unmeasured> {
  const { name, group, what } = benchmark;
  try {
    const skipped = benchmark.lacks?.();
    if (skipped !== undefined) return { name, group, what, skipped };
    using run = benchmark.start();
    return { name, group, what, ...await figures(run, options) };
  } catch (error) {
    options.signal?.throwIfAborted();
    const [failed] = (error instanceof Error ? `${error.name}: ${error.message}` : `${error}`)
      .split("\n");
    return { name, group, what, failed };
  }
}

async function figures(
  run: BenchmarkRun,
  { effort, grain, signal }: MeasureOptions,
): Promise<Omit<Measurement, "name" | "group" | "what">> {
  const turns = new Turns(signal);
  const began = performance.now();
  const isLate = () => performance.now() > began + effort.limit;
  const least = Math.max(effort.batch * NANOSECONDS_PER_MILLISECOND, GRAINS * grain);
  const warm = new WarmUp();
  let operations = 1;
  let quickestTry = 0;
  for (let quickest = 0; quickest < least && operations < effort.mostOperations;) {
    // What a benchmark does beside its operations takes its time as well.
    if (quickestTry > LONGEST_TRY_MILLISECONDS || isLate()) break;
    if (quickest > 0) operations *= 2;
    // The first of a kind is slow, which says nothing about the others.
    quickest = quickestTry = Infinity;
    for (let count = 0; count < TRIES; count++) {
      const tried = performance.now();
      quickest = Math.min(quickest, warm.add(checked(run, operations)).nanoseconds);
      quickestTry = Math.min(quickestTry, performance.now() - tried);
    }
    await turns.take();
  }
  const spent = (since: number, nanoseconds: number) =>
    Math.max(performance.now() - since, nanoseconds / NANOSECONDS_PER_MILLISECOND);
  while (!warm.isEnough(effort) && spent(began, warm.nanoseconds) < effort.longestWarmUp) {
    warm.add(checked(run, operations));
    await turns.take();
  }

  const batches: Batch[] = [];
  const counted = performance.now();
  let own = 0;
  while (spent(counted, own) < effort.duration || batches.length < effort.batches) {
    const batch = checked(run, operations);
    batches.push(batch);
    own += batch.nanoseconds;
    if (isLate()) break;
    await turns.take();
  }
  const samples = samplesOf(batches);
  const cycles = batches.flatMap((each) =>
    each.cycles === undefined ? [] : [each.cycles / operations]
  );
  const exits = batches.flatMap((each) =>
    each.exits === undefined ? [] : [each.exits / operations]
  );
  return {
    sample: operations === 1 || samples.length > batches.length ? "operation" : "batch",
    operations,
    nanoseconds: summarize(samples),
    ...cycles.length === batches.length ? { cycles: summarize(cycles), tscKhz: run.tscKhz } : {},
    ...exits.length === batches.length ? { exits: median(exits) } : {},
    histogram: encodeHistogram(samples),
    warmUp: { operations: warm.operations, isSteady: warm.isSteady },
  };
}

/** The operations where all batches have them one by one, else the batches' means. */
function samplesOf(batches: readonly Batch[]): ArrayLike<number> {
  if (batches.some(({ each }) => each === undefined)) {
    return batches.map(({ nanoseconds, operations }) => nanoseconds / operations);
  }
  const samples = new Float64Array(batches.reduce((sum, { each }) => sum + each!.length, 0));
  let at = 0;
  for (const { each } of batches) {
    samples.set(each!, at);
    at += each!.length;
  }
  return samples;
}

/** A batch that cannot be what it says is worse than none. */
function checked(run: BenchmarkRun, operations: number): Batch {
  const batch = run.batch(operations);
  if (batch.operations !== operations) {
    throw new RangeError(`it made ${batch.operations} operations instead of ${operations}`);
  }
  if (!(batch.nanoseconds > 0) || batch.nanoseconds === Infinity) {
    throw new RangeError(`a batch of ${operations} took ${batch.nanoseconds} ns`);
  }
  if (batch.cycles !== undefined && !(batch.cycles > 0)) {
    throw new RangeError(`a batch of ${operations} took ${batch.cycles} cycles`);
  }
  if (batch.each !== undefined && batch.each.length !== operations) {
    throw new RangeError(`a batch of ${operations} has ${batch.each.length} single times`);
  }
  return batch;
}

/** Tells when operations no longer become faster. */
class WarmUp {
  nanoseconds = 0;
  operations = 0;
  isSteady = false;
  #window: number[] = [];
  #before: number | undefined;

  isEnough({ warmUp, warmUpOperations }: Effort): boolean {
    return this.isSteady && this.operations >= warmUpOperations &&
      this.nanoseconds >= warmUp * NANOSECONDS_PER_MILLISECOND;
  }

  add(batch: Batch): Batch {
    this.nanoseconds += batch.nanoseconds;
    this.operations += batch.operations;
    this.#window.push(batch.nanoseconds / batch.operations);
    if (this.#window.length < WINDOW) return batch;
    const now = median(this.#window);
    const before = this.#before;
    this.isSteady = before !== undefined && Math.abs(now - before) <= STEADY * before;
    this.#before = now;
    this.#window = [];
    return batch;
  }
}

/** The event loop's turns. */
class Turns {
  readonly #signal: AbortSignal | undefined;
  #last = performance.now();

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  async take(): Promise<void> {
    if (performance.now() - this.#last < TURN_MILLISECONDS) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#signal?.throwIfAborted();
    this.#last = performance.now();
  }
}
