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
}

type NumberColumn = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** What a log kept at some time. */
export interface ExitLogState {
  readonly total: number;
  readonly index: number;
  readonly columns: readonly (NumberColumn | readonly (string | undefined)[])[];
}

/**
 * An {@linkcode ExitLog} in memory that is allocated once: the run loop adds to it at every exit and allocates nothing.
 */
export class ExitRecorder implements ExitLog {
  readonly #capacity: number;
  readonly #cpu: Uint16Array;
  readonly #reason: Uint32Array;
  readonly #flags: Uint8Array;
  readonly #address: Float64Array;
  readonly #size: Uint8Array;
  readonly #count: Uint32Array;
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  readonly #answeredBy: (string | undefined)[];
  readonly #fault: (string | undefined)[];
  readonly #description: (string | undefined)[];
  readonly #times: Float64Array | undefined;
  #observer: ExitObserver | undefined;
  /** Whether anybody wants to know when exits come: one question an exit. */
  #isTimed: boolean;
  #total = 0;
  #index = -1;

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
    this.#cpu = new Uint16Array(capacity);
    this.#reason = new Uint32Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#address = new Float64Array(capacity);
    this.#size = new Uint8Array(capacity);
    this.#count = new Uint32Array(capacity);
    this.#low = new Uint32Array(capacity);
    this.#high = new Uint32Array(capacity);
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

  /** Adds an exit. */
  add(
    reason: number,
    isWrite: boolean,
    address: number,
    size: number,
    count: number,
    cpu: number = 0,
  ): void {
    const index = this.#index = this.#index + 1 === this.#capacity ? 0 : this.#index + 1;
    this.#total++;
    this.#cpu[index] = cpu;
    this.#reason[index] = reason;
    this.#flags[index] = isWrite ? WRITE : 0;
    this.#address[index] = address;
    this.#size[index] = size;
    this.#count[index] = count;
    this.#answeredBy[index] = undefined;
    this.#fault[index] = undefined;
    this.#description[index] = undefined;
    if (this.#isTimed) this.#time(index);
  }

  #time(index: number): void {
    const now = performance.now();
    if (this.#times !== undefined) this.#times[index] = now;
    const isWrite = (this.#flags[index] & WRITE) !== 0;
    this.#observer?.exit(
      this.#reason[index],
      isWrite,
      this.#address[index],
      this.#size[index],
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

  /** Notes the value that the latest exit wrote or was answered with. */
  setValue(low: number, high: number): void {
    this.#flags[this.#index] |= KNOWN;
    this.#low[this.#index] = low;
    this.#high[this.#index] = high;
  }

  /** Notes that the latest exit was answered with #GP. */
  setFaulted(): void {
    this.#flags[this.#index] |= FAULTED;
  }

  /** Notes who answered the latest exit. */
  setAnsweredBy(name: string): void {
    this.#answeredBy[this.#index] = name;
  }

  /** Notes that the latest exit reported a fault. */
  setFault(text: string): void {
    this.#fault[this.#index] = text;
  }

  /** Notes in words what the latest exit is. */
  setDescription(text: string): void {
    this.#description[this.#index] = text;
  }

  /** All that it keeps, for {@linkcode ExitRecorder.restore}. */
  save(): ExitLogState {
    return {
      total: this.#total,
      index: this.#index,
      columns: this.#columns.map((column) => column.slice(0, this.#total)),
    };
  }

  /** Keeps what it kept then. */
  restore({ total, index, columns }: ExitLogState): void {
    for (const [number, column] of this.#columns.entries()) {
      const saved = columns[number];
      // Times, of a log that had none.
      if (saved === undefined) continue;
      if (Array.isArray(column)) saved.forEach((value, at) => column[at] = value as string);
      else column.set(saved as ArrayLike<number>);
    }
    this.#total = total;
    this.#index = index;
  }

  get #columns(): readonly (NumberColumn | (string | undefined)[])[] {
    return [
      this.#cpu,
      this.#reason,
      this.#flags,
      this.#address,
      this.#size,
      this.#count,
      this.#low,
      this.#high,
      this.#answeredBy,
      this.#fault,
      this.#description,
      ...this.#times === undefined ? [] : [this.#times],
    ];
  }

  /** See {@linkcode ExitLog.latest}. */
  get latest(): ExitRecord | undefined {
    return this.#total === 0 ? undefined : this.#record(this.#total - 1);
  }

  /** See {@linkcode ExitLog.latestOf}. */
  latestOf(cpu: number): ExitRecord | undefined {
    for (let position = this.#total - 1; position >= this.dropped; position--) {
      if (this.#cpu[position % this.#capacity] === cpu) return this.#record(position);
    }
    return undefined;
  }

  #record(position: number): ExitRecord {
    const index = position % this.#capacity;
    const known = (this.#flags[index] & KNOWN) !== 0;
    return {
      number: position + 1,
      cpu: this.#cpu[index],
      reason: this.#reason[index],
      isWrite: (this.#flags[index] & WRITE) !== 0,
      address: this.#address[index],
      size: this.#size[index],
      count: this.#count[index],
      value: known ? BigInt(this.#high[index]) << 32n | BigInt(this.#low[index]) : undefined,
      faulted: (this.#flags[index] & FAULTED) !== 0,
      answeredBy: this.#answeredBy[index],
      fault: this.#fault[index],
      description: this.#description[index],
      time: this.#times?.[index],
    };
  }
}
