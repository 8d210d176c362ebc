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
/** What of it does not fit is in the second table. */
const WIDE = 8;

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
  readonly at: number;
  readonly before: number;
  readonly words: Uint32Array;
  readonly wide: Uint32Array;
  readonly names: readonly (string | undefined)[];
  readonly texts: readonly (readonly [number: number, texts: Texts])[];
  /** When each came, of a log that notes it. */
  readonly times: Float64Array | undefined;
}

/** What few exits have. */
interface Texts {
  fault?: string;
  description?: string;
}

/**
 * Where a record has what, in words of 32 bits: few, and in one piece of memory, because the run loop writes them at each
 * exit. The head has flags, the size of an element, the reason and the CPU, each in a byte.
 */
const HEAD = 0;
const ADDRESS = 1;
const VALUE = 2;
/** Who has answered it: the place of the name among all names. */
const ANSWERED_BY = 3;
const RECORD_WORDS = 4;

/** The same of what is seldom there. */
const REASON = 0;
const CPU_AND_COUNT = 1;
const ADDRESS_HIGH = 2;
const VALUE_HIGH = 3;

const SIZE_SHIFT = 8;
const REASON_SHIFT = 16;
const CPU_SHIFT = 24;
const COUNT_SHIFT = 16;
const BYTE = 0xff;
const HALF_WORD = 0xffff;
const IO = EXIT_REASON.IO;
const WORD = 2 ** 32;
const LAST_BIT = 31;

function bitOf(reason: number): number {
  return 1 << Math.min(reason, LAST_BIT);
}

/**
 * The head of records of writes of one element to a port, for {@linkcode ExitRecorder.addPortWrite}.
 *
 * @param cpu Below 256.
 */
export function headOfPortWrite(size: number, cpu: number): number {
  return WRITE | KNOWN | size << SIZE_SHIFT | IO << REASON_SHIFT | cpu << CPU_SHIFT;
}

/**
 * An {@linkcode ExitLog} in memory that is allocated once: the run loop adds to it at every exit and allocates nothing.
 */
export class ExitRecorder implements ExitLog {
  readonly #capacity: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #wide: Uint32Array<ArrayBuffer>;
  /** Where the records end. */
  readonly #end: number;
  /** Who has answered exits; the first is nobody. */
  readonly #names: (string | undefined)[] = [undefined];
  readonly #numbers = new Map<string | undefined, number>();
  #latestName: string | undefined;
  #latestNumber = 0;
  /** Those of exits that are in the log, by the exits' numbers, and of some that no longer are. */
  readonly #texts = new Map<number, Texts>();
  readonly #times: Float64Array | undefined;
  #observer: ExitObserver | undefined;
  /** Whether anybody wants to know when exits come: one question an exit. */
  #isTimed: boolean;
  /** Where the latest record is. */
  #at = -RECORD_WORDS;
  /** How many exits there were before that whose record is the first now. */
  #before = 0;
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
    this.#end = RECORD_WORDS * capacity;
    this.#words = new Uint32Array(this.#end);
    this.#wide = new Uint32Array(this.#end);
  }

  /** See {@linkcode ExitLog.total}. */
  get total(): number {
    return this.#before + this.#at / RECORD_WORDS + 1;
  }

  /** See {@linkcode ExitLog.dropped}. */
  get dropped(): number {
    return Math.max(0, this.total - this.#capacity);
  }

  /** See {@linkcode ExitLog.records}. */
  records(): ExitRecord[] {
    const { total } = this;
    const kept = Math.min(total, this.#capacity);
    return Array.from({ length: kept }, (_, i) => this.#record(total - kept + i));
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
    const at = this.#next();
    const words = this.#words;
    words[at + HEAD] = (isWrite ? WRITE : 0) | size << SIZE_SHIFT |
      (reason & BYTE) << REASON_SHIFT |
      (cpu & BYTE) << CPU_SHIFT;
    // A conversion to 32 bits takes the remainder.
    words[at + ADDRESS] = address;
    words[at + ANSWERED_BY] = 0;
    if (address >= WORD || count !== (size === 0 ? 0 : 1) || reason > BYTE || cpu > BYTE) {
      this.#widen(at, reason, cpu, count, address / WORD);
    }
    this.#reasons |= bitOf(reason);
    if (this.#isTimed) this.#time();
  }

  /**
   * Adds a write of one element to a port: {@linkcode add} and what follows it in one.
   *
   * @param head {@linkcode headOfPortWrite} of it.
   * @param by {@linkcode numberOf} of who answers it.
   */
  addPortWrite(head: number, port: number, value: number, by: number): void {
    const at = this.#next();
    const words = this.#words;
    words[at] = head;
    words[at + ADDRESS | 0] = port;
    words[at + VALUE | 0] = value;
    words[at + ANSWERED_BY | 0] = by;
    if (this.#isTimed) this.#time();
  }

  /** The place of a new record, the oldest one's. */
  #next(): number {
    let at = this.#at + RECORD_WORDS | 0;
    if (at === this.#end) {
      at = 0;
      this.#before += this.#capacity;
    }
    this.#at = at;
    return at;
  }

  #widen(at: number, reason: number, cpu: number, count: number, addressHigh: number): void {
    const wide = this.#wide;
    this.#words[at + HEAD] |= WIDE;
    wide[at + REASON] = reason;
    wide[at + CPU_AND_COUNT] = cpu | count << COUNT_SHIFT;
    wide[at + ADDRESS_HIGH] = addressHigh;
    wide[at + VALUE_HIGH] = 0;
  }

  /** By which number a name stands in records. */
  numberOf(name: string): number {
    if (name === this.#latestName) return this.#latestNumber;
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#names.push(name) - 1;
      this.#numbers.set(name, number);
    }
    this.#latestName = name;
    return this.#latestNumber = number;
  }

  /** Notes when the latest exit came, and lets somebody hear of it. */
  #time(): void {
    const now = performance.now();
    if (this.#times !== undefined) this.#times[this.#at / RECORD_WORDS] = now;
    if (this.#observer === undefined) return;
    const { reason, isWrite, address, size } = this.#accessAt(this.#at);
    this.#observer.exit(reason, isWrite, address, size, now);
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

  /** Notes the value that the latest exit wrote or was answered with. */
  setValue(low: number, high: number): void {
    const at = this.#at;
    const words = this.#words;
    words[at + VALUE] = low;
    const isWide = (words[at + HEAD] & WIDE) !== 0;
    words[at + HEAD] |= KNOWN;
    if (!isWide && high === 0) return;
    if (!isWide) {
      const { reason, cpu, count } = this.#accessAt(at);
      this.#widen(at, reason, cpu, count, 0);
    }
    this.#wide[at + VALUE_HIGH] = high;
  }

  /** Notes that the latest exit was answered with #GP. */
  setFaulted(): void {
    this.#words[this.#at + HEAD] |= FAULTED;
  }

  /** Notes who answered the latest exit. */
  setAnsweredBy(name: string): void {
    this.#words[this.#at + ANSWERED_BY] = this.numberOf(name);
  }

  /** Who answered the latest exit. */
  get answeredBy(): string | undefined {
    return this.#names[this.#words[this.#at + ANSWERED_BY]];
  }

  /** The value of the latest exit. */
  get value(): bigint | undefined {
    return this.#valueAt(this.#at);
  }

  /** What the latest exit is, in words. */
  get description(): string | undefined {
    return this.#texts.size === 0 ? undefined : this.#texts.get(this.total)?.description;
  }

  /** Notes that the latest exit reported a fault. */
  setFault(text: string): void {
    this.#textsOfLatest().fault = text;
  }

  /** Notes in words what the latest exit is. */
  setDescription(text: string): void {
    this.#textsOfLatest().description = text;
  }

  #textsOfLatest(): Texts {
    const { total, dropped } = this;
    let texts = this.#texts.get(total);
    if (texts !== undefined) return texts;
    for (const number of this.#texts.keys()) {
      if (number > dropped) break;
      this.#texts.delete(number);
    }
    this.#texts.set(total, texts = {});
    return texts;
  }

  /** All that it keeps, for {@linkcode ExitRecorder.restore}. */
  save(): ExitLogState {
    const end = RECORD_WORDS * Math.min(this.total, this.#capacity);
    return {
      at: this.#at,
      before: this.#before,
      words: this.#words.slice(0, end),
      wide: this.#wide.slice(0, end),
      names: [...this.#names],
      texts: Array.from(this.#texts, ([number, texts]) => [number, { ...texts }]),
      times: this.#times?.slice(0, this.total),
    };
  }

  /** Keeps what it kept then. */
  restore({ at, before, words, wide, names, texts, times }: ExitLogState): void {
    this.#at = at;
    this.#before = before;
    this.#texts.clear();
    if (at < 0) return;
    this.#words.set(words);
    this.#wide.set(wide);
    if (times !== undefined) this.#times?.set(times);
    this.#names.splice(0, Infinity, ...names);
    this.#numbers.clear();
    this.#latestName = undefined;
    names.forEach((name, number) => this.#numbers.set(name, number));
    for (const [number, each] of texts) this.#texts.set(number, { ...each });
  }

  /** See {@linkcode ExitLog.latest}. */
  get latest(): ExitRecord | undefined {
    const { total } = this;
    return total === 0 ? undefined : this.#record(total - 1);
  }

  /** See {@linkcode ExitLog.numbered}. */
  numbered(number: number): ExitRecord | undefined {
    return number > this.dropped && number <= this.total ? this.#record(number - 1) : undefined;
  }

  /** See {@linkcode ExitLog.latestOf}. */
  latestOf(cpu: number): ExitRecord | undefined {
    const { total, dropped } = this;
    for (let position = total - 1; position >= dropped; position--) {
      if (this.#accessAt(this.#placeOf(position)).cpu === cpu) return this.#record(position);
    }
    return undefined;
  }

  #placeOf(position: number): number {
    return RECORD_WORDS * (position % this.#capacity);
  }

  #accessAt(at: number) {
    const words = this.#words;
    const wide = this.#wide;
    const head = words[at + HEAD];
    const isWide = (head & WIDE) !== 0;
    const size = head >>> SIZE_SHIFT & BYTE;
    return {
      cpu: isWide ? wide[at + CPU_AND_COUNT] & HALF_WORD : head >>> CPU_SHIFT,
      reason: isWide ? wide[at + REASON] : head >>> REASON_SHIFT & BYTE,
      isWrite: (head & WRITE) !== 0,
      address: (isWide ? wide[at + ADDRESS_HIGH] * WORD : 0) + words[at + ADDRESS],
      size,
      count: isWide ? wide[at + CPU_AND_COUNT] >>> COUNT_SHIFT : size === 0 ? 0 : 1,
    };
  }

  #valueAt(at: number): bigint | undefined {
    const head = this.#words[at + HEAD];
    if ((head & KNOWN) === 0) return undefined;
    const low = BigInt(this.#words[at + VALUE]);
    const high = (head & WIDE) === 0 ? 0 : this.#wide[at + VALUE_HIGH];
    return high === 0 ? low : BigInt(high) << 32n | low;
  }

  #record(position: number): ExitRecord {
    const at = this.#placeOf(position);
    const texts = this.#texts.get(position + 1);
    const { cpu, reason, isWrite, address, size, count } = this.#accessAt(at);
    return {
      number: position + 1,
      cpu,
      reason,
      isWrite,
      address,
      size,
      count,
      value: this.#valueAt(at),
      faulted: (this.#words[at + HEAD] & FAULTED) !== 0,
      answeredBy: this.#names[this.#words[at + ANSWERED_BY]],
      fault: texts?.fault,
      description: texts?.description,
      time: this.#times?.[at / RECORD_WORDS],
    };
  }
}
