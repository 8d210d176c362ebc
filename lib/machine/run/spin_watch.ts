import { kvm_regs } from "../../kvm/abi/structs/registers.ts";

/** How long a slice of time is, in milliseconds. It is not stretched on slow hosts. */
export const SLICE_MILLISECONDS = 2;

/** How long a CPU runs at least before it is interrupted: for less, interrupting it would take longer. */
export const SHORTEST_MILLISECONDS = 0.1;

/** Where the general registers end, and RIP is. */
const RIP = kvm_regs.offsetOf("rip");
const WORD_SIZE = 4;
const WORDS = RIP / WORD_SIZE;

/** How far a loop that waits reaches at most, in bytes of code: a lock, PAUSE, a few comparisons and jumps. */
const LOOP_SIZE = 64;

/** The most turns that a CPU which works is left alone before it is looked at again. */
const MOST_TURNS = 16;

/** How many turns in a row a CPU that is still in its loop counts as spinning although its registers have changed. */
const MOST_CHANGES = 8;

/** What a look at a CPU finds. */
type Finding = "spins" | "works" | "look again";

/**
 * Finds that a CPU spins: between two looks it has stayed in one small loop, and its general registers are the same. KVM
 * makes no exit of that, even where the loop has PAUSE.
 *
 * Each look interrupts the guest. So a CPU that works is looked at in ever fewer of its turns, and one for which nothing
 * comes gets ever longer turns: should the host be so slow that a turn was over before the guest ran at all, it runs in a
 * later one.
 */
export class SpinWatch {
  readonly #registers: () => DataView;
  /** The general registers at the latest look, as words, and the low one of RIP. */
  readonly #seen = new Uint32Array(WORDS + 1);
  #looks = 0;
  #milliseconds = SHORTEST_MILLISECONDS;
  /** How many turns it is left alone from now on, and when it is next found to work. */
  #turns = 0;
  #nextTurns = 1;
  #changes = MOST_CHANGES;
  /** Whether it was looked at before it ran, and has run since. */
  #isKnown = false;
  #hasMoved = false;

  /** @param registers Gives the CPU's `kvm_regs`. */
  constructor(registers: () => DataView) {
    this.#registers = registers;
  }

  /** How long the CPU runs until the next look, in milliseconds. */
  get milliseconds(): number {
    // One that has not come to run its first instruction must not be taken for one that spins.
    return this.#hasMoved ? this.#milliseconds : SLICE_MILLISECONDS;
  }

  /** Begins a turn. False for one in which the CPU is left alone. */
  begin(): boolean {
    this.#looks = 0;
    if (!this.#isKnown) {
      const registers = this.#registers();
      this.#isInLoop(registers);
      this.#isSame(registers);
      this.#isKnown = true;
    }
    if (this.#turns === 0) return true;
    this.#turns--;
    return false;
  }

  /** Looks at the CPU, which has run for {@linkcode milliseconds} since the turn began, or since the look before. */
  look(): Finding {
    const isFirst = this.#looks++ === 0;
    const registers = this.#registers();
    const isThere = registers.getUint32(RIP, true) === this.#seen[WORDS];
    const isInLoop = this.#isInLoop(registers);
    const isSame = this.#isSame(registers);
    this.#hasMoved ||= !(isThere && isSame);
    if (isInLoop && isSame) {
      // As it was before its turn: nothing has come for it.
      if (isFirst) this.#milliseconds = Math.min(2 * this.#milliseconds, SLICE_MILLISECONDS);
      else this.#changes = 0;
      this.#nextTurns = 1;
      return "spins";
    }
    this.#milliseconds = SHORTEST_MILLISECONDS;
    // What it waited for has come, and it waits for the next already.
    if (isFirst && isInLoop && this.#changes++ < MOST_CHANGES) return "spins";
    if (isFirst) return "look again";
    this.works();
    return "works";
  }

  /** Forgets what it has seen: the CPU is elsewhere. */
  forget(): void {
    this.#milliseconds = SHORTEST_MILLISECONDS;
    this.#turns = 0;
    this.#nextTurns = 1;
    this.#changes = MOST_CHANGES;
    this.#isKnown = this.#hasMoved = false;
  }

  /** Notes that it works: it is left alone for a while. */
  works(): void {
    this.#changes = MOST_CHANGES;
    this.#turns = this.#nextTurns;
    this.#nextTurns = Math.min(2 * this.#nextTurns, MOST_TURNS);
  }

  #isInLoop(registers: DataView): boolean {
    const rip = registers.getUint32(RIP, true);
    const distance = Math.abs(rip - this.#seen[WORDS]);
    this.#seen[WORDS] = rip;
    return distance < LOOP_SIZE;
  }

  #isSame(registers: DataView): boolean {
    let isSame = true;
    for (let index = 0; index < WORDS; index++) {
      const word = registers.getUint32(index * WORD_SIZE, true);
      isSame &&= word === this.#seen[index];
      this.#seen[index] = word;
    }
    return isSame;
  }
}
