import { atCaller } from "../../guest/call_site.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { SplitMix32 } from "../../x86/split_mix.ts";
import { asyncError, isPromise, type NoPromise } from "../../devices/handlers.ts";
import { namedError } from "./run_errors.ts";
import type { ActivityState } from "./activity_state.ts";
import { SHORTEST_MILLISECONDS, SLICE_MILLISECONDS, type SpinWatch } from "./spin_watch.ts";

/** Turns of CPUs that are the same for the same seed: the option `interleaving`. */
export interface InterleavingOptions {
  /** A whole number from 0 to 2^32 - 1. */
  readonly seed: number;
  /** The most instructions of a slice. Default 16. */
  readonly instructions?: number;
}

/** Which CPU of a machine runs next, and for how long. */
interface Slice {
  /** Its number. */
  readonly cpu: number;
  /** How many instructions; undefined for a slice of time. */
  readonly instructions: number | undefined;
}

/** Decides the turns of a machine's CPUs. */
export interface SchedulingPolicy {
  /**
   * The next slice.
   *
   * @param runnable The numbers of the CPUs that can run, in order; there is at least one.
   */
  next(runnable: readonly number[]): Slice;
  /** What the next turns depend on beside that, as one number. */
  state: number;
}

/** One CPU after the other, each for a slice of time. */
export class RoundRobin implements SchedulingPolicy {
  /** See {@linkcode SchedulingPolicy.state}: the CPU that ran last. */
  state = -1;

  /** See {@linkcode SchedulingPolicy.next}. */
  next(runnable: readonly number[]): Slice {
    this.state = runnable.find((cpu) => cpu > this.state) ?? runnable[0];
    return { cpu: this.state, instructions: undefined };
  }
}

/** A seed: a whole number of 32 bits. */
const LAST_SEED = 0xffff_ffff;

/** The most instructions of a turn where the option does not say. */
const MOST_INSTRUCTIONS = 16;

/**
 * Turns by chance, but the same ones for the same seed: any runnable CPU, for one to a few instructions. A race
 * between CPUs needs but two or three turns that fall unluckily, so short turns find it soon.
 */
export class SeededInterleaving implements SchedulingPolicy {
  /** What they were made by. */
  readonly options: InterleavingOptions;
  readonly #most: number;
  #random: SplitMix32;

  /** @throws {RangeError} When the seed, or the most instructions, is not a whole number in its range. */
  constructor(options: InterleavingOptions) {
    const { seed, instructions: most = MOST_INSTRUCTIONS } = options;
    if (!Number.isInteger(seed) || seed < 0 || seed > LAST_SEED) {
      throw new RangeError(
        `Cannot interleave CPUs by seed ${seed}: it is not a whole number from 0 to 2^32 - 1`,
      );
    }
    if (!Number.isInteger(most) || most < 1 || most > LAST_SEED) {
      throw new RangeError(
        `Cannot interleave CPUs by turns of up to ${most} instructions: it is not a whole number from 1 up`,
      );
    }
    booted?.add(seed);
    this.options = options;
    this.#random = new SplitMix32(seed);
    this.#most = most;
  }

  /** See {@linkcode SchedulingPolicy.state}: where its random numbers stand. */
  get state(): number {
    return this.#random.state;
  }

  set state(state: number) {
    this.#random = new SplitMix32(state);
  }

  /** See {@linkcode SchedulingPolicy.next}. */
  next(runnable: readonly number[]): Slice {
    const cpu = runnable[this.#random.below(runnable.length)];
    return { cpu, instructions: 1 + this.#random.below(this.#most) };
  }
}

/**
 * How many signals in a row a turn of instructions sees without one that ends. An interrupt's handler is executed as
 * part of the instruction that it interrupts: one that loops must not hold up the machine.
 */
const MOST_SIGNALS = 5;

/**
 * The turn of the CPU that runs, where a machine has several. A slice of time ends early where the CPU does nothing but
 * spin.
 */
export class TimeSlice {
  readonly #interrupt: (milliseconds: number) => void;
  #activity: ActivityState | undefined;
  /** Looks at the CPU; undefined once it is known to work. */
  #watch: SpinWatch | undefined;
  /** What is left of it, in instructions; undefined for a slice of time. */
  #left: number | undefined;
  #end = 0;
  #signals = 0;

  /** @param interrupt Has the guest interrupted when so many milliseconds have passed. */
  constructor(interrupt: (milliseconds: number) => void) {
    this.#interrupt = interrupt;
  }

  /**
   * Begins a CPU's slice: of so many instructions, or of time.
   *
   * @param watch Finds that the CPU spins; undefined for a slice of time that does not end for that.
   */
  begin(activity: ActivityState, instructions?: number, watch?: SpinWatch): void {
    this.#activity = activity;
    this.#left = instructions;
    this.#signals = 0;
    this.#watch = undefined;
    if (instructions !== undefined) return;
    this.#end = performance.now() + SLICE_MILLISECONDS;
    if (watch?.begin()) this.#watch = watch;
    // Anew for each: the signal of a slice that ended at an exit is not the next one's.
    this.#interrupt(this.#watch?.milliseconds ?? SLICE_MILLISECONDS);
  }

  /** How many instructions are left of it; undefined for a slice of time. */
  get left(): number | undefined {
    return this.#left;
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
    if (this.#left === undefined) return this.#watch === undefined || this.#isSpent(this.#watch);
    if (++this.#signals >= MOST_SIGNALS) return true;
    this.#activity!.look();
    return !this.#activity!.canRun;
  }

  /** Whether it is over. To be asked after an exit. */
  exited(): boolean {
    if (this.#left !== undefined || performance.now() < this.#end) return false;
    this.#watch?.works();
    return true;
  }

  /** Whether a slice of time is over, or its CPU spins. */
  #isSpent(watch: SpinWatch): boolean {
    const finding = watch.look();
    if (finding === "spins" && !this.#waits()) return true;
    const rest = this.#end - performance.now();
    if (rest < SHORTEST_MILLISECONDS) return true;
    if (finding !== "look again") this.#watch = undefined;
    this.#interrupt(this.#watch === undefined ? rest : watch.milliseconds);
    return false;
  }

  /** Whether the CPU stands still in HLT, or waits for a SIPI: what wakes it comes by time. */
  #waits(): boolean {
    this.#activity!.look();
    return this.#activity!.isWaiting;
  }
}

/**
 * Runs `body` with one seed after the other, for `boot(…, { interleaving: { seed } })`. At the first failure it throws
 * what `body` threw, with the seed in its message: give that seed to have the same run again.
 *
 * @param range How many seeds, from 0 on; or the first, and how many.
 * @throws {RangeError} When it is no whole number of seeds.
 * @throws {TypeError} When `body` returns a promise, or boots no machine with its seed.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, interleavings } from "@vmexit/vmexit";
 *
 * const guest = asm`
 *   lock inc word [0x2000]
 *   hlt
 * `;
 * interleavings(20, (seed) => {
 *   using vm = boot(guest, { cpus: [{}, {}], interleaving: { seed } });
 *   vm.run();
 *   expect(vm).toHaveMemory(0x2000, [2]);
 * });
 * ```
 */
export function interleavings(
  range: number | { readonly first: number; readonly count: number },
  body: (seed: number) => NoPromise,
): void {
  const { first, count } = atCaller(interleavings, () => checkedRange(range, body));
  for (let seed = first; seed < first + count; seed++) {
    const outer = booted;
    const seeds = booted = new Set();
    try {
      const result = body(seed);
      if (isPromise(result)) throw asyncError(result, "try interleavings by an async function");
    } catch (error) {
      throw namedError(error, `interleaving seed ${seed}`);
    } finally {
      booted = outer;
    }
    atCaller(interleavings, () => checkIsUsed(seed, seeds));
  }
}

/** The seeds of the machines that are booted while {@linkcode interleavings} tries one. */
let booted: Set<number> | undefined;

/** Of a seed that no machine is booted with, every run would be the same. */
function checkIsUsed(seed: number, seeds: ReadonlySet<number>): void {
  if (seeds.has(seed)) return;
  throw new TypeError(
    `Cannot try interleaving seed ${seed}: the function has booted no machine with it, so that every seed would be the ` +
      "same run. Give boot() its parameter: { interleaving: { seed } }.",
  );
}

/** Which seeds. */
type InterleavingRange = Exclude<Parameters<typeof interleavings>[0], number>;
const RANGE: NamesOf<InterleavingRange> = { first: "value", count: "value" };

function checkedRange(range: number | InterleavingRange, body: unknown): InterleavingRange {
  if (typeof range !== "number") checkOptions("try interleavings", range, RANGE);
  const { first, count } = typeof range === "number" ? { first: 0, count: range } : range;
  if (typeof body !== "function") {
    throw new TypeError(`Cannot try interleavings of ${String(body)}: give a function of the seed`);
  }
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || first < 0 || count < 1) {
    throw new RangeError(
      `Cannot try ${count} interleavings from seed ${first} on: give whole numbers, from 1 and from 0 up`,
    );
  }
  return { first, count };
}
