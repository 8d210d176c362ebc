import { checkOptions } from "../x86/defined_entries.ts";
import { HPET } from "../x86/layout.ts";
import type { Device, DeviceBoard, InterruptLine } from "./device.ts";
import {
  CONFIGURATION,
  HPET_PERIOD,
  HPET_REGISTER,
  hpetCapabilities,
  TIMER,
} from "./hpet_registers.ts";

const FEMTOSECONDS = 1e6;

/** Nanoseconds of a tick. */
const TICK = HPET_PERIOD / FEMTOSECONDS;

const MOST_TIMERS = 32;

/** What timers can interrupt by: IRQ 11, and the GSIs of an I/O APIC, where there is one. */
const ROUTES = [11, 20, 21, 22, 23] as const;

/** What timers 0 and 1 interrupt by in legacy replacement: the lines of the 8254 and of the real-time clock. */
const LEGACY_IRQS = [0, 8] as const;

const MASK_32 = 0xffff_ffffn;
const MASK_64 = 0xffff_ffff_ffff_ffffn;
const HALF_BITS = 32n;

/** Ticks that are too far away to be planned: years. */
const NEVER = 2n ** 52n;

interface TimerState {
  configuration: bigint;
  comparator: bigint;
  /** What a periodic timer adds to its comparator. */
  period: bigint;
  /** The counter at the latest match: one tick matches once. */
  matchedAt: bigint | undefined;
}

interface State {
  configuration: bigint;
  status: bigint;
  /** What the counter was at `since`; what it is, where it stands. */
  counter: bigint;
  since: number;
  timers: TimerState[];
}

/** The bits of a timer's configuration that the guest can write. */
const WRITABLE = TIMER.LEVEL | TIMER.INTERRUPT_ENABLE | TIMER.PERIODIC | TIMER.SET_VALUE |
  TIMER.MODE_32 | TIMER.ROUTE;

/**
 * A High Precision Event Timer at 0xfed00000: a counter of 64 bits and 100 MHz, and timers that compare with it, once
 * or periodically, of 32 or 64 bits, by edge or level.
 *
 * IA-PC HPET specification 1.0a, 2.3. Registers are accessed by 4 or 8 bytes that lie in one of them; what else is read
 * is 0, and what else is written is lost. Timers can interrupt by IRQ 11 and, with `irqchip: true`, GSI 20 to 23, in
 * legacy replacement the first two by IRQ 0 and 8. Left out: interrupts by messages (FSB), and that legacy replacement
 * takes the lines from the 8254 and the real-time clock, which the guest has stopped by then.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Hpet, TestClock } from "@vmexit/vmexit/devices";
 *
 * const clock = new TestClock({ perExit: 0 });
 * using vm = boot(asm`
 *   bits 32
 *   mov dword [0xfed00010], 1       ; on
 *   hlt
 *   mov eax, [0xfed000f0]
 *   hlt
 * `, { clock, devices: [new Hpet()] });
 * vm.run();
 * clock.advance(1_000_000);
 * vm.run();
 * console.log(vm.registers.eax); // 100000
 * ```
 */
export class Hpet implements Device {
  /** The name in tables of exits. */
  readonly name = "HPET";
  readonly #address: number;
  #board!: DeviceBoard;
  readonly #lines = new Map<number, InterruptLine>();
  readonly #planned: (Disposable | undefined)[];
  /** A bit for each of the routes that its board has. */
  #routes = 0;
  #state: State;

  /**
   * A timer block that is off.
   *
   * @param options `timers`: how many, 1 to 32, default 3. `address`: where, default 0xfed00000.
   * @throws {RangeError} When there can not be so many.
   */
  constructor(options: { readonly timers?: number; readonly address?: number } = {}) {
    checkOptions("make an HPET", options, { timers: "value", address: "value" });
    const { timers = 3, address = HPET } = options;
    if (!Number.isInteger(timers) || timers < 1 || timers > MOST_TIMERS) {
      throw new RangeError(
        `Cannot make an HPET of ${timers} timers: it has 1 to ${MOST_TIMERS}`,
      );
    }
    this.#address = address;
    this.#planned = Array(timers).fill(undefined);
    this.#state = afterReset(timers);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    for (const irq of ROUTES) {
      try {
        this.#lines.set(irq, board.interruptLine(irq));
        this.#routes |= 1 << irq;
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
    }
    const first = this.#address;
    board.mmio.on([first, first + HPET_REGISTER.SIZE - 1], {
      name: this.name,
      read: (address, size) => {
        const offset = address - first;
        if (!isAccess(offset, size)) return 0;
        const value = this.#read(offset & ~7);
        if (size === 8) return value;
        return Number((offset & 4) === 0 ? value & MASK_32 : value >> HALF_BITS);
      },
      write: (address, value, size) => {
        const offset = address - first;
        if (!isAccess(offset, size)) return;
        const shift = (offset & 4) === 0 ? 0n : HALF_BITS;
        const mask = size === 8 ? MASK_64 : MASK_32 << shift;
        this.#write(offset & ~7, BigInt(value) << shift, mask);
      },
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#state = afterReset(this.#planned.length);
    for (const line of this.#lines.values()) line.set(false);
    this.#planAll();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    const since = this.#state.since - this.#board.timers.now;
    return { ...structuredClone(this.#state), since };
  }

  /** See {@linkcode Device.restore}. The counter goes on from where it was saved. */
  restore(saved: unknown): void {
    const state = structuredClone(saved as State);
    this.#state = { ...state, since: state.since + this.#board.timers.now };
    // Without an edge where the line is as it was.
    for (const line of this.#lines.values()) line.set(this.#asserts(line));
    this.#planAll();
  }

  get #isOn(): boolean {
    return (this.#state.configuration & CONFIGURATION.ENABLE) !== 0n;
  }

  get #counter(): bigint {
    const { counter, since } = this.#state;
    if (!this.#isOn) return counter;
    return counter + BigInt(Math.floor((this.#board.timers.now - since) / TICK)) & MASK_64;
  }

  #read(offset: number): bigint {
    const { configuration, status, timers } = this.#state;
    switch (offset) {
      case HPET_REGISTER.CAPABILITIES:
        return hpetCapabilities(timers.length - 1);
      case HPET_REGISTER.CONFIGURATION:
        return configuration;
      case HPET_REGISTER.INTERRUPT_STATUS:
        return status;
      case HPET_REGISTER.COUNTER:
        return this.#counter;
    }
    const timer = timers[timerAt(offset)];
    switch (timer && offset % HPET_REGISTER.TIMER_SIZE) {
      case HPET_REGISTER.TIMER_CONFIGURATION:
        return timer.configuration | TIMER.PERIODIC_CAPABLE | TIMER.SIZE_64 |
          BigInt(this.#routes) << TIMER.ROUTES_SHIFT;
      case HPET_REGISTER.TIMER_COMPARATOR:
        return timer.comparator;
      default:
        return 0n;
    }
  }

  #write(offset: number, value: bigint, mask: bigint): void {
    const state = this.#state;
    switch (offset) {
      case HPET_REGISTER.CONFIGURATION:
        this.#configure((merged(state.configuration, value, mask)) & CONFIGURATION.ALL);
        break;
      case HPET_REGISTER.INTERRUPT_STATUS:
        state.status &= ~value;
        for (const index of state.timers.keys()) this.#signal(index);
        return;
      case HPET_REGISTER.COUNTER:
        state.counter = merged(this.#counter, value, mask);
        state.since = this.#board.timers.now;
        break;
      default: {
        const index = timerAt(offset);
        const timer = state.timers[index];
        if (timer === undefined) return;
        const register = offset % HPET_REGISTER.TIMER_SIZE;
        if (register === HPET_REGISTER.TIMER_CONFIGURATION) {
          this.#configureTimer(index, merged(timer.configuration, value, mask));
        } else if (register === HPET_REGISTER.TIMER_COMPARATOR) compare(timer, value, mask);
      }
    }
    this.#planAll();
  }

  #configure(configuration: bigint): void {
    const state = this.#state;
    state.counter = this.#counter;
    state.since = this.#board.timers.now;
    // A line that another takes over from is left as it was before the timer.
    for (const index of state.timers.keys()) this.#line(index)?.set(false);
    state.configuration = configuration;
    for (const index of state.timers.keys()) this.#signal(index);
  }

  #configureTimer(index: number, value: bigint): void {
    const timer = this.#state.timers[index];
    this.#line(index)?.set(false);
    const route = Number((value & TIMER.ROUTE) >> TIMER.ROUTE_SHIFT);
    const before = timer.configuration & TIMER.ROUTE;
    // A route that there is not does not stick, by which the guest finds those that there are.
    timer.configuration = (this.#routes >>> route & 1) === 0
      ? value & WRITABLE & ~TIMER.ROUTE | before
      : value & WRITABLE;
    if ((timer.configuration & TIMER.MODE_32) !== 0n) {
      timer.comparator &= MASK_32;
      timer.period &= MASK_32;
    }
    this.#signal(index);
  }

  /** The line of a timer; undefined for none. */
  #line(index: number): InterruptLine | undefined {
    const { configuration, timers } = this.#state;
    const isLegacy = (configuration & CONFIGURATION.LEGACY_REPLACEMENT) !== 0n;
    const irq = isLegacy && index < LEGACY_IRQS.length
      ? LEGACY_IRQS[index]
      : Number((timers[index].configuration & TIMER.ROUTE) >> TIMER.ROUTE_SHIFT);
    if (irq === 0 && !isLegacy) return undefined;
    let line = this.#lines.get(irq);
    if (line === undefined) this.#lines.set(irq, line = this.#board.interruptLine(irq));
    return line;
  }

  /** A level is there as long as its status is. */
  #signal(index: number): void {
    const isLevel = (this.#state.timers[index].configuration & TIMER.LEVEL) !== 0n;
    const line = this.#line(index);
    if (isLevel && line !== undefined) line.set(this.#asserts(line));
  }

  /** Whether a timer holds a line; several may have the same. */
  #asserts(line: InterruptLine): boolean {
    return this.#state.timers.some(({ configuration }, index) => {
      const isEnabled = this.#isOn && (configuration & TIMER.INTERRUPT_ENABLE) !== 0n;
      const isPending = (this.#state.status >> BigInt(index) & 1n) !== 0n;
      return (configuration & TIMER.LEVEL) !== 0n && isEnabled && isPending &&
        this.#line(index) === line;
    });
  }

  #planAll(): void {
    for (const index of this.#planned.keys()) this.#plan(index);
  }

  /** Plans a timer's next match. */
  #plan(index: number): void {
    this.#planned[index]?.[Symbol.dispose]();
    this.#planned[index] = undefined;
    if (!this.#isOn) return;
    const { configuration, comparator, matchedAt } = this.#state.timers[index];
    const mask = (configuration & TIMER.MODE_32) === 0n ? MASK_64 : MASK_32;
    const counter = this.#counter;
    const soonest = matchedAt === counter ? 1n : 0n;
    const distance = (comparator - counter - soonest & mask) + soonest;
    if (distance >= NEVER) return;
    const { timers } = this.#board;
    const { now } = timers;
    const { since } = this.#state;
    // From the beginning of the current tick.
    const begun = since + Math.floor((now - since) / TICK) * TICK;
    const deadline = Math.max(begun + Number(distance) * TICK, now + 1);
    this.#planned[index] = timers.at(deadline, () => this.#match(index));
  }

  #match(index: number): void {
    const timer = this.#state.timers[index];
    const { configuration } = timer;
    timer.matchedAt = this.#counter;
    if ((configuration & TIMER.LEVEL) !== 0n) {
      this.#state.status |= 1n << BigInt(index);
      this.#signal(index);
    } else if ((configuration & TIMER.INTERRUPT_ENABLE) !== 0n) {
      const line = this.#line(index);
      line?.set(true);
      line?.set(false);
    }
    if ((configuration & TIMER.PERIODIC) !== 0n && timer.period > 0n) {
      const mask = (configuration & TIMER.MODE_32) === 0n ? MASK_64 : MASK_32;
      // Matches that were missed are one.
      const late = this.#counter - timer.comparator & mask;
      timer.comparator = timer.comparator + (late / timer.period + 1n) * timer.period & mask;
    }
    this.#plan(index);
  }
}

function afterReset(timers: number): State {
  return {
    configuration: 0n,
    status: 0n,
    counter: 0n,
    since: 0,
    timers: Array.from({ length: timers }, () => ({
      configuration: 0n,
      comparator: MASK_64,
      period: 0n,
      matchedAt: undefined,
    })),
  };
}

function isAccess(offset: number, size: number): boolean {
  return (size === 4 || size === 8) && offset % size === 0;
}

/** The number of a timer by the offset of one of its registers; negative for the registers before them. */
function timerAt(offset: number): number {
  return Math.floor((offset - HPET_REGISTER.TIMERS) / HPET_REGISTER.TIMER_SIZE);
}

function merged(before: bigint, value: bigint, mask: bigint): bigint {
  return before & ~mask | value & mask;
}

/** A write of the comparator: in periodic mode of the period, unless its value is to be set (2.3.9.2.2). */
function compare(timer: TimerState, value: bigint, mask: bigint): void {
  const limit = (timer.configuration & TIMER.MODE_32) === 0n ? MASK_64 : MASK_32;
  const isPeriodic = (timer.configuration & TIMER.PERIODIC) !== 0n;
  const setsValue = (timer.configuration & TIMER.SET_VALUE) !== 0n;
  if (!isPeriodic || setsValue) timer.comparator = merged(timer.comparator, value, mask) & limit;
  if (isPeriodic) timer.period = merged(timer.period, value, mask) & limit;
  timer.configuration &= ~TIMER.SET_VALUE;
  timer.matchedAt = undefined;
}
