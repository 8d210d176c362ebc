import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";

/** One exit as the log keeps it. */
export interface ExitRecord {
  /** Which exit of the machine it was, from 1. */
  readonly number: number;
  /** The number of the CPU whose exit it was. */
  readonly cpu: number;
  /** The exit reason's number (`KVM_EXIT_*`). */
  readonly reason: number;
  /** For IO, MMIO and MSRs: whether the guest wrote. */
  readonly isWrite: boolean;
  /** For IO the port, for MMIO the physical address, for MSRs the number, else 0. */
  readonly address: number;
  /** For IO, MMIO and MSRs: bytes of one element; else 0. */
  readonly size: number;
  /** For IO: elements (more than one for string instructions); for MMIO and MSRs 1; else 0. */
  readonly count: number;
  /**
   * For IO, MMIO and MSRs: the value written, or the one the read was answered with, of the first element.
   * Undefined before it is known.
   */
  readonly value: bigint | undefined;
  /** For MSRs: whether the answer gave the guest #GP. */
  readonly faulted: boolean;
  /** What answered it: a handler's name, a transcript, the test; undefined as long as nothing has. */
  readonly answeredBy: string | undefined;
  /** The guest's fault in a line, where its fault catcher reported one by this exit. */
  readonly fault: string | undefined;
  /** It in the words of the device that has answered it: a call of the BIOS's, a hypercall. */
  readonly description: string | undefined;
  /**
   * When KVM had come back with it, by `performance.now()`: milliseconds, with a fraction. Undefined without the option
   * `timeExits`.
   */
  readonly time: number | undefined;
}

/** Hears of each exit when it is noted. It may not allocate: it stands in the path of every exit. */
export interface ExitObserver {
  /** @param time By `performance.now()`. */
  exit(reason: number, isWrite: boolean, address: number, size: number, time: number): void;
}

const KNOWN = 1;
const WRITE = 2;
const FAULTED = 4;
/** The record has a fault or a description, which a later one in its place must not keep. */
const HAS_TEXT = 8;

/**
 * The last exits of a machine: `vm.log`. What no longer fits (the option `recordExits`) drops out at the old end, and
 * {@linkcode ExitLog.dropped} says how many have.
 */
export interface ExitLog {
  /** How many exits there have been. */
  readonly total: number;
  /** How many of them are no longer in the log. */
  readonly dropped: number;
  /** The latest exit, or undefined before the first. */
  readonly latest: ExitRecord | undefined;
  /** The exits that are still known, the oldest first. */
  records(): ExitRecord[];
  /** The latest exit of one CPU that is still known, or undefined. */
  latestOf(cpu: number): ExitRecord | undefined;
  /** An exit by its number, or undefined where it is not known any more, or not yet. */
  numbered(number: number): ExitRecord | undefined;
}

/** What a log kept at some time. */
export interface ExitLogState {
  readonly total: number;
  readonly index: number;
  readonly words: Uint32Array;
  readonly texts: readonly (readonly (string | undefined)[])[];
  /** When each came, of a log that notes it. */
  readonly times: Float64Array | undefined;
}

/** Where a record has what, in words of 32 bits: one piece of memory, so that an exit touches few of its lines. */
const CPU = 0;
const REASON = 1;
/** The flags, with the size of an element above them. */
const FLAGS = 2;
const COUNT = 3;
const ADDRESS_LOW = 4;
const ADDRESS_HIGH = 5;
const VALUE_LOW = 6;
const VALUE_HIGH = 7;
const RECORD_WORDS = 8;

const SIZE_SHIFT = 8;
const IO = EXIT_REASON.IO;
const WORD = 2 ** 32;
const LAST_BIT = 31;

function bitOf(reason: number): number {
  return 1 << Math.min(reason, LAST_BIT);
}

/**
 * An {@linkcode ExitLog} in memory that is allocated once: the run loop adds to it at every exit and allocates nothing.
 */
export class ExitRecorder implements ExitLog {
  readonly #capacity: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #answeredBy: (string | undefined)[];
  readonly #fault: (string | undefined)[];
  readonly #description: (string | undefined)[];
  readonly #times: Float64Array | undefined;
  #observer: ExitObserver | undefined;
  /** Whether anybody wants to know when exits come: one question an exit. */
  #isTimed: boolean;
  #total = 0;
  #index = -1;
  /** A bit for each reason that an exit has had; the last for all from 31 on. */
  #reasons = 0;

  /**
   * An empty log.
   *
   * @param capacity How many exits are kept.
   * @param isTimed Whether it notes when each came.
   */
  constructor(capacity: number, isTimed = false) {
    this.#isTimed = isTimed;
    this.#times = isTimed ? new Float64Array(capacity) : undefined;
    this.#capacity = capacity;
    this.#words = new Uint32Array(RECORD_WORDS * capacity);
    this.#answeredBy = new Array(capacity).fill(undefined);
    this.#fault = new Array(capacity).fill(undefined);
    this.#description = new Array(capacity).fill(undefined);
  }

  /** See {@linkcode ExitLog.total}. */
  get total(): number {
    return this.#total;
  }

  /** See {@linkcode ExitLog.dropped}. */
  get dropped(): number {
    return Math.max(0, this.#total - this.#capacity);
  }

  /** See {@linkcode ExitLog.records}. */
  records(): ExitRecord[] {
    const kept = Math.min(this.#total, this.#capacity);
    return Array.from({ length: kept }, (_, i) => this.#record(this.#total - kept + i));
  }

  /** Whether no exit had another reason than these, also those that a restored snapshot has forgotten. */
  hasOnly(reasons: readonly number[]): boolean {
    return (this.#reasons & ~reasons.reduce((bits, reason) => bits | bitOf(reason), 0)) === 0;
  }

  /** Adds an exit. */
  add(
    reason: number,
    isWrite: boolean,
    address: number,
    size: number,
    count: number,
    cpu: number = 0,
  ): void {
    const words = this.#words;
    const at = RECORD_WORDS * this.#next(undefined);
    words[at + CPU] = cpu;
    words[at + REASON] = reason;
    words[at + FLAGS] = (isWrite ? WRITE : 0) | size << SIZE_SHIFT;
    words[at + COUNT] = count;
    // A conversion to 32 bits takes the remainder.
    words[at + ADDRESS_LOW] = address;
    words[at + ADDRESS_HIGH] = address / WORD;
    this.#reasons |= bitOf(reason);
    if (this.#isTimed) this.#time();
  }

  /** Adds a write of one element to a port: {@linkcode add} and what follows it in one. */
  addPortWrite(port: number, size: number, value: number, cpu: number, answeredBy: string): void {
    const words = this.#words;
    const at = RECORD_WORDS * this.#next(answeredBy);
    words[at + CPU] = cpu;
    words[at + REASON] = IO;
    words[at + FLAGS] = WRITE | KNOWN | size << SIZE_SHIFT;
    words[at + COUNT] = 1;
    words[at + ADDRESS_LOW] = port;
    words[at + ADDRESS_HIGH] = 0;
    words[at + VALUE_LOW] = value;
    words[at + VALUE_HIGH] = 0;
    if (this.#isTimed) this.#time();
  }

  /** The place of a new record, the oldest one's. */
  #next(answeredBy: string | undefined): number {
    const index = this.#index + 1 === this.#capacity ? 0 : this.#index + 1;
    this.#index = index;
    this.#total++;
    this.#answeredBy[index] = answeredBy;
    if ((this.#words[RECORD_WORDS * index + FLAGS] & HAS_TEXT) !== 0) {
      this.#dropTexts(index);
    }
    return index;
  }

  /** Notes when the latest exit came, and lets somebody hear of it. */
  #time(): void {
    const now = performance.now();
    if (this.#times !== undefined) this.#times[this.#index] = now;
    const words = this.#words;
    const at = RECORD_WORDS * this.#index;
    const flags = words[at + FLAGS];
    const address = words[at + ADDRESS_HIGH] * WORD + words[at + ADDRESS_LOW];
    this.#observer?.exit(
      words[at + REASON],
      (flags & WRITE) !== 0,
      address,
      flags >> SIZE_SHIFT,
      now,
    );
  }

  /**
   * Lets somebody hear of each exit, until the returned object is disposed.
   *
   * @throws {TypeError} When somebody does already.
   */
  observe(observer: ExitObserver): Disposable {
    if (this.#observer !== undefined) {
      throw new TypeError("Cannot time the machine's exits: they are being timed already");
    }
    this.#observer = observer;
    this.#isTimed = true;
    return {
      [Symbol.dispose]: () => {
        this.#observer = undefined;
        this.#isTimed = this.#times !== undefined;
      },
    };
  }

  #dropTexts(index: number): void {
    this.#fault[index] = this.#description[index] = undefined;
  }

  /** Notes the value that the latest exit wrote or was answered with. */
  setValue(low: number, high: number): void {
    const at = RECORD_WORDS * this.#index;
    this.#words[at + FLAGS] |= KNOWN;
    this.#words[at + VALUE_LOW] = low;
    this.#words[at + VALUE_HIGH] = high;
  }

  /** Notes that the latest exit was answered with #GP. */
  setFaulted(): void {
    this.#setFlag(FAULTED);
  }

  /** Notes who answered the latest exit. */
  setAnsweredBy(name: string): void {
    this.#answeredBy[this.#index] = name;
  }

  /** Notes that the latest exit reported a fault. */
  setFault(text: string): void {
    this.#setFlag(HAS_TEXT);
    this.#fault[this.#index] = text;
  }

  /** Notes in words what the latest exit is. */
  setDescription(text: string): void {
    this.#setFlag(HAS_TEXT);
    this.#description[this.#index] = text;
  }

  #setFlag(flag: number): void {
    this.#words[RECORD_WORDS * this.#index + FLAGS] |= flag;
  }

  /** All that it keeps, for {@linkcode ExitRecorder.restore}. */
  save(): ExitLogState {
    return {
      total: this.#total,
      index: this.#index,
      words: this.#words.slice(0, RECORD_WORDS * this.#total),
      texts: this.#texts.map((texts) => texts.slice(0, this.#total)),
      times: this.#times?.slice(0, this.#total),
    };
  }

  /** Keeps what it kept then. */
  restore({ total, index, words, texts, times }: ExitLogState): void {
    this.#total = total;
    this.#index = index;
    if (total === 0) return;
    this.#words.set(words);
    if (times !== undefined) this.#times?.set(times);
    for (const [number, column] of this.#texts.entries()) {
      texts[number].forEach((text, at) => column[at] = text);
    }
  }

  get #texts(): readonly (string | undefined)[][] {
    return [this.#answeredBy, this.#fault, this.#description];
  }

  /** See {@linkcode ExitLog.latest}. */
  get latest(): ExitRecord | undefined {
    return this.#total === 0 ? undefined : this.#record(this.#total - 1);
  }

  /** See {@linkcode ExitLog.numbered}. */
  numbered(number: number): ExitRecord | undefined {
    return number > this.dropped && number <= this.#total ? this.#record(number - 1) : undefined;
  }

  /** See {@linkcode ExitLog.latestOf}. */
  latestOf(cpu: number): ExitRecord | undefined {
    for (let position = this.#total - 1; position >= this.dropped; position--) {
      if (this.#words[RECORD_WORDS * (position % this.#capacity) + CPU] === cpu) {
        return this.#record(position);
      }
    }
    return undefined;
  }

  #value(at: number): bigint {
    const low = BigInt(this.#words[at + VALUE_LOW]);
    const high = this.#words[at + VALUE_HIGH];
    return high === 0 ? low : BigInt(high) << 32n | low;
  }

  #record(position: number): ExitRecord {
    const index = position % this.#capacity;
    const words = this.#words;
    const at = RECORD_WORDS * index;
    const flags = words[at + FLAGS];
    return {
      number: position + 1,
      cpu: words[at + CPU],
      reason: words[at + REASON],
      isWrite: (flags & WRITE) !== 0,
      address: words[at + ADDRESS_HIGH] * WORD + words[at + ADDRESS_LOW],
      size: flags >> SIZE_SHIFT,
      count: words[at + COUNT],
      value: (flags & KNOWN) === 0 ? undefined : this.#value(at),
      faulted: (flags & FAULTED) !== 0,
      answeredBy: this.#answeredBy[index],
      fault: this.#fault[index],
      description: this.#description[index],
      time: this.#times?.[index],
    };
  }
}
