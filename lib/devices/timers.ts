import { checkOptions } from "../x86/defined_entries.ts";

/** The time that a board's devices count by. */
export interface Clock {
  /** Nanoseconds since the machine was booted. */
  readonly nanoseconds: number;
  /** Called after each exit of the guest. */
  exited?(): void;
  /**
   * Lets time pass while the guest waits in HLT.
   *
   * @param nanoseconds The time to wait for, on this clock.
   * @param most How many milliseconds of the host's time that may take.
   */
  passUntil(nanoseconds: number, most: number): void;
  /**
   * Goes back, or on, to a time: a snapshot of the machine is restored. Where a clock cannot, devices count by how far it
   * has come since then.
   */
  restore?(nanoseconds: number): void;
}

const NANOSECONDS = 1e6;

/** The host's monotonic clock: devices count in real time. */
export class HostClock implements Clock {
  #start = performance.now();

  /** See {@linkcode Clock.nanoseconds}. */
  get nanoseconds(): number {
    return Math.floor((performance.now() - this.#start) * NANOSECONDS);
  }

  /** Sleeps. */
  passUntil(nanoseconds: number, most: number): void {
    const rest = (nanoseconds - this.nanoseconds) / NANOSECONDS;
    if (rest <= 0) return;
    // Nobody wakes it: the time-out is what it waits for.
    const word = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    Atomics.wait(word, 0, 0, Math.min(rest, most));
  }

  /** See {@linkcode Clock.restore}. */
  restore(nanoseconds: number): void {
    this.#start = performance.now() - nanoseconds / NANOSECONDS;
  }
}

/**
 * A clock of the test's, for runs that repeat to the digit: time passes where the test says so, a little with each exit
 * of the guest, and to the next timer where the guest waits in HLT. A guest that spins without an exit sees time stand.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { type Device, TestClock } from "@vmexit/vmexit/devices";
 *
 * const stopwatch: Device = {
 *   name: "stopwatch",
 *   attach({ ports, timers }) {
 *     ports.on(0x300, { name: "stopwatch", read: () => Math.floor(timers.now / 1_000_000) });
 *   },
 * };
 * const clock = new TestClock();
 * using vm = boot(asm`
 *   mov dx, 0x300
 *   in  al, dx
 *   hlt
 * `, { clock, devices: [stopwatch] });
 * clock.advance(5_000_000); // five milliseconds
 * vm.run();
 * console.log(vm.registers.al); // 5
 * ```
 */
export class TestClock implements Clock {
  /** Nanoseconds since the machine was booted. */
  nanoseconds = 0;
  readonly #perExit: number;

  /**
   * A clock at 0.
   *
   * @param options `perExit`: the nanoseconds that pass with each exit of the guest. Default 1000, about what an exit
   *   takes on hardware.
   * @throws {RangeError} When it is negative, or no whole number.
   */
  constructor(options: { readonly perExit?: number } = {}) {
    checkOptions("make a clock", options, { perExit: "value" });
    const { perExit = 1000 } = options;
    this.#perExit = checked("pass", perExit);
  }

  /**
   * Lets time pass.
   *
   * @throws {RangeError} When it is negative, or no whole number of nanoseconds.
   */
  advance(nanoseconds: number): void {
    this.nanoseconds += checked("advance by", nanoseconds);
  }

  /** See {@linkcode Clock.exited}. */
  exited(): void {
    this.nanoseconds += this.#perExit;
  }

  /** Goes there at once. */
  passUntil(nanoseconds: number): void {
    this.nanoseconds = Math.max(this.nanoseconds, nanoseconds);
  }

  /** See {@linkcode Clock.restore}. */
  restore(nanoseconds: number): void {
    this.nanoseconds = nanoseconds;
  }
}

function checked(verb: string, nanoseconds: number): number {
  if (Number.isSafeInteger(nanoseconds) && nanoseconds >= 0) return nanoseconds;
  throw new RangeError(
    `Cannot ${verb} ${
      String(nanoseconds)
    } nanoseconds: it is not a whole number, or it is negative`,
  );
}

/** How many calls are made before the guest goes on. */
const MOST_AT_ONCE = 10_000;

interface Timer {
  readonly deadline: number;
  readonly callback: () => void;
}

/**
 * What devices have planned for later. They are called back when the guest has an exit, and, while a timer is planned,
 * about every millisecond that it runs without one.
 */
export class Timers {
  readonly #clock: Clock;
  readonly #checkTime: () => void;
  /** How far the clock is ahead of the board's time: of one that does not go back with a snapshot. */
  #ahead = 0;
  #planned: Timer[] = [];

  /**
   * None planned.
   *
   * @param checkTime Throws where the time limit of the guest's run is over.
   */
  constructor(clock: Clock, checkTime: () => void = () => {}) {
    this.#clock = clock;
    this.#checkTime = checkTime;
  }

  /** The time, in nanoseconds since the machine was booted. */
  get now(): number {
    return this.#clock.nanoseconds - this.#ahead;
  }

  /** Goes to a time, which may be over. What devices have planned they plan anew. */
  restore(now: number): void {
    this.#clock.restore?.(now);
    this.#ahead = this.#clock.restore === undefined ? this.#clock.nanoseconds - now : 0;
  }

  /** When the next is due; undefined where none is planned. */
  get next(): number | undefined {
    return this.#planned[0]?.deadline;
  }

  /**
   * Plans a call.
   *
   * @param deadline When, in nanoseconds since the machine was booted; at once where that is over.
   * @returns What takes it back.
   * @throws {RangeError} When the deadline is no number.
   */
  at(deadline: number, callback: () => void): Disposable {
    if (typeof deadline !== "number" || Number.isNaN(deadline)) {
      throw new RangeError(`Cannot plan a call for ${String(deadline)}: it is no time`);
    }
    const timer = { deadline, callback };
    const index = this.#planned.findIndex((each) => each.deadline > deadline);
    this.#planned.splice(index < 0 ? this.#planned.length : index, 0, timer);
    return {
      [Symbol.dispose]: () => {
        const index = this.#planned.indexOf(timer);
        if (index >= 0) this.#planned.splice(index, 1);
      },
    };
  }

  /** Notes an exit, and calls those that are due. */
  exited(): void {
    this.#clock.exited?.();
    this.expire();
  }

  /** Calls those that are due; not without end, where each plans the next for the same time. */
  expire(): void {
    const { now } = this;
    for (let count = 0; count < MOST_AT_ONCE && this.#planned[0]?.deadline <= now; count++) {
      this.#planned.shift()!.callback();
    }
  }

  /**
   * Lets time pass until the next is due, and calls it.
   *
   * @param most How many milliseconds of the host's time that may take.
   * @throws When the guest's run takes too long.
   */
  passToNext(most: number): void {
    const { next } = this;
    if (next === undefined) return;
    this.#clock.passUntil(next + this.#ahead, most);
    this.#checkTime();
    this.expire();
  }
}
