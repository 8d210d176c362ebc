/** Turns of CPUs that are the same for the same seed: the option `interleaving`. */
export interface InterleavingOptions {
  /** A whole number from 0 to 2^32 - 1. */
  readonly seed: number;
  /** The most instructions of a turn. Default 16. */
  readonly instructions?: number;
}

/** Which CPU of a machine runs next, and for how long. */
export interface Turn {
  /** Its number. */
  readonly cpu: number;
  /** How many instructions; undefined for a slice of time. */
  readonly instructions: number | undefined;
}

/** Decides the turns of a machine's CPUs. */
export interface Interleaving {
  /**
   * The next turn.
   *
   * @param runnable The numbers of the CPUs that can run, in order; there is at least one.
   */
  next(runnable: readonly number[]): Turn;
}

/** One CPU after the other, each for a slice of time. */
export class TimeSlices implements Interleaving {
  #last = -1;

  /** See {@linkcode Interleaving.next}. */
  next(runnable: readonly number[]): Turn {
    this.#last = runnable.find((cpu) => cpu > this.#last) ?? runnable[0];
    return { cpu: this.#last, instructions: undefined };
  }
}

/** A seed: a whole number of 32 bits. */
const LAST_SEED = 0xffff_ffff;

/** The most instructions of a turn where the option does not say. */
const MOST_INSTRUCTIONS = 16;

/**
 * Turns by chance, but the same ones for the same seed: any runnable CPU, for one to a few instructions. A race
 * between CPUs needs but two or three turns that fall unluckily, so short turns find it soon.
 *
 * The numbers are those of SplitMix32 (Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators).
 */
export class SeededInterleaving implements Interleaving {
  /** What they were made by. */
  readonly options: InterleavingOptions;
  readonly #most: number;
  #state: number;

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
    this.options = options;
    this.#state = seed;
    this.#most = most;
  }

  /** See {@linkcode Interleaving.next}. */
  next(runnable: readonly number[]): Turn {
    const cpu = runnable[this.#below(runnable.length)];
    return { cpu, instructions: 1 + this.#below(this.#most) };
  }

  #below(limit: number): number {
    this.#state = (this.#state + 0x9e37_79b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
    mixed = (mixed ^ (mixed >>> 16)) >>> 0;
    return Math.floor(mixed / 2 ** 32 * limit);
  }
}
