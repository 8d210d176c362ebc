const TWO_TO_32 = 2 ** 32;

/**
 * Numbers by chance, but the same ones for the same seed: those of SplitMix32 (Steele, Lea and Flood: Fast Splittable
 * Pseudorandom Number Generators).
 */
export class SplitMix32 {
  #state: number;

  /** @param seed 32 bits. */
  constructor(seed: number) {
    this.#state = seed;
  }

  /** What the next numbers follow from: the seed of one that goes on from here. */
  get state(): number {
    return this.#state;
  }

  /** 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x9e37_79b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  }

  /** A whole number from 0 up, below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() / TWO_TO_32 * limit);
  }
}
