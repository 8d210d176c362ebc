/** Bits of a control word (8254 data sheet, figure 7). */
const CONTROL = { BCD: 0x01, MODE_SHIFT: 1, MODE: 0x07, ACCESS_SHIFT: 4, ACCESS: 0x03 } as const;

/** What a control word says of reads and writes. */
const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3 } as const;

/** Bits of a status byte (figure 11); the rest is the control word. */
const STATUS = { OUT: 0x80, NULL_COUNT: 0x40, CONTROL: 0x3f } as const;

/** Modes 6 and 7 are 2 and 3. */
const HIGHEST_MODE = 5;

const BINARY_COUNTS = 0x1_0000;
const BCD_COUNTS = 10_000;
const DIGITS = 4;

/** What a counter is at some time. */
export interface CounterState {
  /** The control word's low six bits. */
  control: number;
  mode: number;
  isBcd: boolean;
  access: number;
  /** The count that was loaded; in modes 2 and 3 the period. 1 to 65536. */
  count: number;
  /** The tick at which counting began, as if the gate had never been low since. Undefined where it has not. */
  start: number | undefined;
  /** How far it had come when the gate went low; undefined where it counts. */
  stopped: number | undefined;
  /** A count that comes into force later: at that tick, or with the next trigger. */
  next: number | undefined;
  nextAt: number | undefined;
  /** How often OUT had risen when the count that is in force began. */
  risen: number;
  gate: boolean;
  /** The low byte of a count whose high byte is still to come. */
  lowByte: number | undefined;
  /** Whether the next read of two gives the high byte. */
  readsHigh: boolean;
  latchedCount: number | undefined;
  latchedStatus: number | undefined;
}

/** One of the three counters of an 8254. Its time is in ticks of its clock. */
export class Counter {
  /** What it is now. */
  state: CounterState;
  readonly #gate: boolean;

  /**
   * A counter that does not count.
   *
   * @param gate Whether its gate is high after reset.
   */
  constructor(gate: boolean) {
    this.#gate = gate;
    this.state = Counter.#afterReset(gate);
  }

  static #afterReset(gate: boolean): CounterState {
    return {
      control: 0,
      mode: 3,
      isBcd: false,
      access: ACCESS.BOTH,
      count: BINARY_COUNTS,
      start: undefined,
      stopped: undefined,
      next: undefined,
      nextAt: undefined,
      risen: 0,
      gate,
      lowByte: undefined,
      readsHigh: false,
      latchedCount: undefined,
      latchedStatus: undefined,
    };
  }

  /** Makes it as it was first. */
  reset(): void {
    this.state = Counter.#afterReset(this.#gate);
  }

  /** The period of its output, in ticks; undefined where that is no wave. */
  get period(): number | undefined {
    const { mode, start, stopped, count } = this.state;
    return (mode === 2 || mode === 3) && start !== undefined && stopped === undefined
      ? count
      : undefined;
  }

  /** Takes a control word for this counter: a mode, or the counter latch command. */
  control(word: number, tick: number): void {
    const access = word >> CONTROL.ACCESS_SHIFT & CONTROL.ACCESS;
    if (access === ACCESS.LATCH) {
      this.latchCount(tick);
      return;
    }
    const mode = word >> CONTROL.MODE_SHIFT & CONTROL.MODE;
    this.state = {
      ...Counter.#afterReset(this.state.gate),
      control: word & STATUS.CONTROL,
      mode: mode > HIGHEST_MODE ? mode & 3 : mode,
      isBcd: (word & CONTROL.BCD) !== 0,
      access,
    };
  }

  /** Holds the count for the next read. A count that is held already stays. */
  latchCount(tick: number): void {
    this.state.latchedCount ??= this.#counted(tick);
  }

  /** Holds the status for the next read. */
  latchStatus(tick: number): void {
    const { state } = this;
    this.#settle(tick);
    const isNull = state.next !== undefined || state.start === undefined || tick < state.start;
    state.latchedStatus ??= state.control |
      (this.output(tick) ? STATUS.OUT : 0) | (isNull ? STATUS.NULL_COUNT : 0);
  }

  /** Reads a byte of the count, or of what is held. */
  read(tick: number): number {
    const { state } = this;
    if (state.latchedStatus !== undefined) {
      const status = state.latchedStatus;
      state.latchedStatus = undefined;
      return status;
    }
    const value = state.latchedCount ?? this.#counted(tick);
    const isHigh = state.access === ACCESS.HIGH ||
      (state.access === ACCESS.BOTH && state.readsHigh);
    if (state.access === ACCESS.BOTH) state.readsHigh = !state.readsHigh;
    if (!state.readsHigh) state.latchedCount = undefined;
    return isHigh ? value >> 8 : value & 0xff;
  }

  /** Writes a byte of the count. */
  write(byte: number, tick: number): void {
    const { state } = this;
    if (state.access === ACCESS.LOW) this.#load(byte, tick);
    else if (state.access === ACCESS.HIGH) this.#load(byte << 8, tick);
    else if (state.lowByte === undefined) {
      state.lowByte = byte;
      // The first byte stops mode 0 (data sheet, "Mode 0").
      if (state.mode === 0) state.start = undefined;
    } else {
      const value = byte << 8 | state.lowByte;
      state.lowByte = undefined;
      this.#load(value, tick);
    }
  }

  #load(value: number, tick: number): void {
    const { state } = this;
    this.#settle(tick);
    const count = (state.isBcd ? fromBcd(value) : value) || this.#counts;
    switch (state.mode) {
      case 1:
      case 5:
        state.next = count;
        return;
      case 2:
      case 3:
        if (state.start !== undefined) {
          state.next = count;
          const done = Math.floor(this.#elapsed(tick) / state.count);
          state.nextAt = state.start + (done + 1) * state.count;
          return;
        }
    }
    state.count = count;
    // A count is loaded with the next pulse of the clock.
    state.start = tick + 1;
    state.stopped = state.gate ? undefined : 0;
  }

  /** Sets the gate's level (data sheet, figure 21). */
  setGate(gate: boolean, tick: number): void {
    const { state } = this;
    if (gate === state.gate) return;
    this.#settle(tick);
    const elapsed = this.#elapsed(tick);
    state.gate = gate;
    if (state.mode === 1 || state.mode === 5) {
      if (gate) this.#trigger(tick);
      return;
    }
    if (state.start === undefined) return;
    if (!gate) state.stopped = elapsed;
    else if (state.mode === 0 || state.mode === 4) {
      state.start = tick - elapsed;
      state.stopped = undefined;
    } else this.#trigger(tick);
  }

  #trigger(tick: number): void {
    const { state } = this;
    const isLoaded = state.start !== undefined || state.next !== undefined;
    state.count = state.next ?? state.count;
    state.next = undefined;
    state.nextAt = undefined;
    state.start = isLoaded ? tick + 1 : undefined;
    state.stopped = undefined;
  }

  /** The level of OUT. */
  output(tick: number): boolean {
    this.#settle(tick);
    const { mode, start, stopped, count } = this.state;
    if (start === undefined) return mode !== 0;
    const elapsed = this.#elapsed(tick);
    switch (mode) {
      case 0:
        return elapsed >= count;
      case 1:
        return tick < start || elapsed >= count;
      case 2:
        return stopped !== undefined || elapsed % count !== count - 1;
      case 3:
        return stopped !== undefined || elapsed % count < Math.ceil(count / 2);
      default:
        return elapsed !== count;
    }
  }

  /** How often OUT has risen by counting, since the mode was set. */
  edges(tick: number): number {
    this.#settle(tick);
    return this.state.risen + this.#edgesOfCount(tick);
  }

  #edgesOfCount(tick: number): number {
    const { mode, start, count } = this.state;
    if (start === undefined) return 0;
    const elapsed = this.#elapsed(tick);
    switch (mode) {
      case 2:
      case 3:
        return Math.floor(elapsed / count);
      case 0:
      case 1:
        return elapsed >= count ? 1 : 0;
      default:
        return elapsed > count ? 1 : 0;
    }
  }

  /** The tick at which OUT rises next; undefined where it does not. */
  nextEdge(tick: number): number | undefined {
    this.#settle(tick);
    const edges = this.#edgesOfCount(tick);
    const { mode, start, stopped, count } = this.state;
    if (start === undefined || stopped !== undefined) return undefined;
    if (mode === 2 || mode === 3) return start + (edges + 1) * count;
    if (edges > 0) return undefined;
    return start + count + (mode >= 4 ? 1 : 0);
  }

  /** Brings a count into force whose time has come. */
  #settle(tick: number): void {
    const { state } = this;
    if (state.nextAt === undefined || tick < state.nextAt || state.stopped !== undefined) return;
    state.risen += this.#edgesOfCount(state.nextAt);
    state.start = state.nextAt;
    state.count = state.next!;
    state.next = undefined;
    state.nextAt = undefined;
  }

  get #counts(): number {
    return this.state.isBcd ? BCD_COUNTS : BINARY_COUNTS;
  }

  #elapsed(tick: number): number {
    const { start, stopped } = this.state;
    if (start === undefined) return 0;
    return stopped ?? Math.max(0, tick - start);
  }

  /** The counting element, as it is read. */
  #counted(tick: number): number {
    this.#settle(tick);
    const { mode, count, isBcd } = this.state;
    const elapsed = this.#elapsed(tick);
    const left = mode === 3
      ? squareWaveCount(count, elapsed % count)
      : mode === 2
      ? count - elapsed % count
      : count - elapsed;
    const counts = this.#counts;
    const value = (left % counts + counts) % counts;
    return isBcd ? toBcd(value) : value;
  }
}

/** Mode 3 counts down by two, in each half of the period; of an odd count from one less (data sheet, "Mode 3"). */
function squareWaveCount(count: number, elapsed: number): number {
  const high = Math.ceil(count / 2);
  const even = count - count % 2;
  return even - 2 * (elapsed < high ? elapsed : elapsed - high);
}

function fromBcd(value: number): number {
  let result = 0;
  for (let digit = DIGITS - 1; digit >= 0; digit--) {
    result = result * 10 + (value >> 4 * digit & 0xf);
  }
  return result % BCD_COUNTS;
}

function toBcd(value: number): number {
  let result = 0;
  let rest = value;
  for (let digit = 0; digit < DIGITS; digit++) {
    result |= rest % 10 << 4 * digit;
    rest = Math.floor(rest / 10);
  }
  return result;
}
