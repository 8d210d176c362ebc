import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import { alarmMatches, isTime, loadTime, storeTime } from "./cmos_calendar.ts";
import { checkedInteger } from "./checked.ts";
import type { Device, DeviceBoard, InterruptLine } from "./device.ts";
import type { Timers } from "./timers.ts";

/** The control registers (MC146818 data sheet, "Registers"). */
const REGISTER = { A: 0x0a, B: 0x0b, C: 0x0c, D: 0x0d } as const;

/** Register A: update in progress, the divider, and the rate of the periodic interrupt. */
const A = { UIP: 0x80, DIVIDER: 0x70, RATE: 0x0f } as const;

/** The divider for 32768 Hz; above are those that stop it. */
const DIVIDER_32_KHZ = 0x20;

/** Register B. The enables are at the places of their flags in register C. */
const B = {
  SET: 0x80,
  PERIODIC: 0x40,
  ALARM: 0x20,
  UPDATE: 0x10,
  SQUARE_WAVE: 0x08,
  HOURS_24: 0x02,
} as const;

/** Register C. */
const C = { IRQ: 0x80, PERIODIC: 0x40, ALARM: 0x20, UPDATE: 0x10, ALL: 0x70 } as const;

/** Register D: the battery is well. */
const VALID_RAM_AND_TIME = 0x80;

/** Bytes of a PC's CMOS memory that firmware and kernels read (Ralf Brown's list, "CMOS Memory Map"). */
const LOCATION = {
  EQUIPMENT: 0x14,
  BASE_MEMORY: 0x15,
  EXTENDED_MEMORY: 0x17,
  CHECKSUM: 0x2e,
  EXTENDED_MEMORY_AGAIN: 0x30,
  /** From 16 MiB on, in units of 64 KiB. */
  MEMORY_ABOVE_16_MIB: 0x34,
  /** From 4 GiB on, in units of 64 KiB, in three bytes. */
  MEMORY_ABOVE_4_GIB: 0x5b,
} as const;

/** What the checksum is of. */
const CHECKED = { first: 0x10, last: 0x2d } as const;

/** A coprocessor, and no floppy drive. */
const EQUIPMENT = 0x02;

const SIZE = 0x80;
const INDEX = 0x7f;
const NMI_MASK = 0x80;
const WRITE_ONLY = 0xff;
const CLOCK_IRQ = 8;

const KIB = 1024;
const MIB = KIB * KIB;
const GIB = KIB * MIB;
const UNIT = 64 * KIB;
const MOST_BASE_MEMORY = 640 * KIB;

const SECOND = 1e9;
const OSCILLATOR = 32_768;

/** How long before a second the update is announced, and how long it takes, in nanoseconds (data sheet, table 6). */
const UPDATE_TIME = 244_000 + 1_984_000;

/** After the divider was held, the first update comes half a second later (data sheet, "Divider Control"). */
const FIRST_UPDATE = SECOND / 2;

/** What the clock shows by default. */
const DEFAULT_DATE = Date.UTC(2000, 0, 1);

/** What a {@linkcode Cmos} is told. */
export interface CmosOptions {
  /** What the clock shows, in UTC, when the machine is booted. Default midnight of January 1st, 2000. */
  readonly date?: Date;
  /** Bytes of its memory by index, over those that say how much memory the machine has. */
  readonly content?: Readonly<Record<number, number>>;
}

const OPTIONS: NamesOf<CmosOptions> = { date: "value", content: "value" };

interface State {
  index: number;
  isNmiMasked: boolean;
  ram: Uint8Array;
  /** Register C, without its interrupt bit. */
  flags: number;
  /** What the clock showed when it was set, in seconds since 1970. */
  seconds: number;
  /** When that was, in nanoseconds of the board's time; the second has begun then. */
  since: number;
  /** Up to when flags have been worked out. */
  synced: number;
}

/**
 * The real-time clock of a PC with its memory (MC146818, ports 0x70 and 0x71, IRQ 8). It goes by the board's time, from
 * the date that it is given; so a test with a `TestClock` has it stand, or advance.
 *
 * MC146818 data sheet: BCD and binary, 12 and 24 hours, update in progress, periodic, alarm and update interrupts, SET
 * and the divider. The memory has the sizes of the machine's memory at the usual places, the century at 0x32, and a
 * checksum. Left out: daylight saving, the square wave, and the second bank (0x72).
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Cmos } from "@vmexit/vmexit/devices";
 *
 * const cmos = new Cmos({ date: new Date("1999-12-31T23:59:59Z") });
 * using vm = boot(asm`
 *   mov al, 9               ; the year
 *   out 0x70, al
 *   in  al, 0x71
 *   hlt
 * `, { devices: [cmos] });
 * vm.run();
 * console.log(vm.registers.al.toString(16)); // 99
 * ```
 */
export class Cmos implements Device {
  /** The name in tables of exits. */
  readonly name = "CMOS";
  readonly #options: CmosOptions;
  #timers: Timers | undefined;
  #line: InterruptLine | undefined;
  #planned: Disposable | undefined;
  #state: State;

  /**
   * A clock and its memory.
   *
   * @throws {RangeError} When the date is none, or the content is none of its 128 bytes.
   */
  constructor(options: CmosOptions = {}) {
    checkOptions("make a CMOS", options, OPTIONS);
    for (const [index, value] of Object.entries(options.content ?? {})) {
      checkedInteger("give a CMOS the byte of index", Number(index), 0, SIZE - 1);
      checkedInteger("give a CMOS the byte", value, 0, 0xff);
    }
    this.#options = options;
    const ram = new Uint8Array(SIZE);
    ram[REGISTER.A] = DIVIDER_32_KHZ | 6;
    ram[REGISTER.B] = B.HOURS_24;
    ram[REGISTER.D] = VALID_RAM_AND_TIME;
    ram[LOCATION.EQUIPMENT] = EQUIPMENT;
    this.#state = {
      index: REGISTER.D,
      isNmiMasked: false,
      ram,
      flags: 0,
      seconds: secondsOf(options.date ?? new Date(DEFAULT_DATE)),
      since: 0,
      synced: 0,
    };
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#timers = board.timers;
    this.#line = board.interruptLine(CLOCK_IRQ);
    this.#state.since = this.#state.synced = board.timers.now;
    const { ram } = this.#state;
    noteMemory(ram, board.ram);
    for (const [index, value] of Object.entries(this.#options.content ?? {})) {
      ram[Number(index)] = value;
    }
    storeChecksum(ram);
    claimBytePorts(board.ports, PORT.cmos, 2, {
      name: this.name,
      read: (offset) => offset === 0 ? WRITE_ONLY : this.#read(),
      write: (offset, value) => {
        if (offset === 1) return this.#write(value);
        this.#state.index = value & INDEX;
        this.#state.isNmiMasked = (value & NMI_MASK) !== 0;
      },
    });
  }

  /** See {@linkcode Device.reset}. The battery keeps time and memory. */
  reset(): void {
    this.#sync();
    const state = this.#state;
    state.ram[REGISTER.B] &= ~(B.PERIODIC | B.ALARM | B.UPDATE | B.SQUARE_WAVE);
    state.flags = 0;
    state.isNmiMasked = false;
    this.#signal();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { now: this.#now, ...structuredClone(this.#state) };
  }

  /** See {@linkcode Device.restore}. The clock goes on from where it was saved. */
  restore(saved: unknown): void {
    const { now, ...state } = structuredClone(saved as State & { now: number });
    const shift = this.#now - now;
    this.#state = { ...state, since: state.since + shift, synced: state.synced + shift };
    this.#signal();
  }

  /**
   * What the clock shows, in UTC; it may be set.
   *
   * @throws {RangeError} When it is set to no date.
   */
  get date(): Date {
    const { ram } = this.#state;
    const seconds = this.#runs ? this.#secondsAt(this.#now) : loadTime(ram, ram[REGISTER.B]);
    return new Date(seconds * 1000);
  }

  set date(date: Date) {
    const seconds = secondsOf(date);
    this.#sync();
    const { ram } = this.#state;
    this.#state.seconds = seconds;
    this.#state.since = this.#now;
    storeTime(ram, seconds, ram[REGISTER.B]);
    this.#plan();
  }

  /** Its 128 bytes, live; those of the running clock are not among them, but {@linkcode Cmos.date} is. */
  get ram(): Uint8Array {
    return this.#state.ram;
  }

  /** Whether the guest has masked NMIs (bit 7 of port 0x70). A test that injects one asks for it. */
  get isNmiMasked(): boolean {
    return this.#state.isNmiMasked;
  }

  get #now(): number {
    return this.#timers?.now ?? 0;
  }

  get #dividerRuns(): boolean {
    return (this.#state.ram[REGISTER.A] & A.DIVIDER) <= DIVIDER_32_KHZ;
  }

  /** Whether the time counts. */
  get #runs(): boolean {
    return this.#dividerRuns && (this.#state.ram[REGISTER.B] & B.SET) === 0;
  }

  #secondsAt(time: number): number {
    const { seconds, since } = this.#state;
    return seconds + Math.floor((time - since) / SECOND);
  }

  /** Nanoseconds of the current second. */
  get #phase(): number {
    return (this.#now - this.#state.since) % SECOND;
  }

  #read(): number {
    const { index, ram } = this.#state;
    this.#sync();
    if (index === REGISTER.A) {
      const isUpdating = this.#runs && this.#phase >= SECOND - UPDATE_TIME;
      return ram[index] | (isUpdating ? A.UIP : 0);
    }
    if (index === REGISTER.C) {
      const value = this.#flags;
      this.#state.flags = 0;
      this.#signal();
      return value;
    }
    if (isTime(index)) this.#showTime();
    return ram[index];
  }

  /** Register C. */
  get #flags(): number {
    const { flags, ram } = this.#state;
    return flags | ((flags & ram[REGISTER.B]) === 0 ? 0 : C.IRQ);
  }

  /** Brings the time registers up to date. */
  #showTime(): void {
    const { ram } = this.#state;
    if (this.#runs) storeTime(ram, this.#secondsAt(this.#now), ram[REGISTER.B]);
  }

  #write(value: number): void {
    const state = this.#state;
    const { index, ram } = state;
    this.#sync();
    switch (index) {
      case REGISTER.A:
      case REGISTER.B:
        this.#control(index, value);
        break;
      case REGISTER.C:
      case REGISTER.D:
        return;
      default:
        if (isTime(index)) this.#showTime();
        ram[index] = value;
        if (isTime(index) && this.#runs) this.#setTime(this.#phase);
    }
    this.#signal();
  }

  /** The time is that of the registers, so far into its second. */
  #setTime(phase: number): void {
    const { ram } = this.#state;
    this.#state.seconds = loadTime(ram, ram[REGISTER.B]);
    this.#state.since = this.#now - phase;
  }

  #control(index: number, value: number): void {
    const { ram } = this.#state;
    const ran = this.#runs;
    const divided = this.#dividerRuns;
    this.#showTime();
    const phase = this.#phase;
    if (index === REGISTER.A) ram[index] = value & ~A.UIP;
    // SET ends the interrupt of updates, of which there are none then.
    else ram[index] = (value & B.SET) === 0 ? value : value & ~B.UPDATE;
    if (!divided && this.#dividerRuns) this.#setTime(SECOND - FIRST_UPDATE);
    else if (!ran && this.#runs) this.#setTime(phase);
  }

  /** The time between periodic interrupts, in nanoseconds; undefined where there are none. */
  get #period(): number | undefined {
    const rate = this.#state.ram[REGISTER.A] & A.RATE;
    if (rate === 0 || !this.#dividerRuns) return undefined;
    // Rates 1 and 2 are those of 8 and 9 (data sheet, table 5).
    const shift = rate <= 2 ? rate + 6 : rate - 1;
    return SECOND / (OSCILLATOR >> shift);
  }

  /** Works out the flags of all that has happened until now. */
  #sync(): void {
    const state = this.#state;
    const now = this.#now;
    const { synced, since, ram } = state;
    state.synced = now;
    const period = this.#period;
    if (period !== undefined) {
      const passed = (time: number) => Math.floor((time - since) / period);
      if (passed(now) > passed(synced)) state.flags |= C.PERIODIC;
    }
    if (!this.#runs) return;
    const [from, to] = [this.#secondsAt(synced), this.#secondsAt(now)];
    if (to <= from) return;
    state.flags |= C.UPDATE;
    if (alarmMatches(ram, from, to, ram[REGISTER.B])) state.flags |= C.ALARM;
  }

  #signal(): void {
    this.#line?.set((this.#flags & C.IRQ) !== 0);
    this.#plan();
  }

  /** Plans the next thing that could interrupt. */
  #plan(): void {
    this.#planned?.[Symbol.dispose]();
    this.#planned = undefined;
    const timers = this.#timers;
    if (timers === undefined) return;
    const { ram, since } = this.#state;
    const { now } = timers;
    const next = (period: number) => since + (Math.floor((now - since) / period) + 1) * period;
    const enabled = ram[REGISTER.B];
    const period = this.#period;
    let deadline = Infinity;
    if ((enabled & B.PERIODIC) !== 0 && period !== undefined) deadline = next(period);
    if ((enabled & (B.ALARM | B.UPDATE)) !== 0 && this.#runs) {
      deadline = Math.min(deadline, next(SECOND));
    }
    if (deadline === Infinity) return;
    this.#planned = timers.at(Math.max(Math.ceil(deadline), now + 1), () => {
      this.#sync();
      this.#signal();
    });
  }
}

function secondsOf(date: Date): number {
  const time = date.getTime();
  if (Number.isFinite(time)) return Math.floor(time / 1000);
  throw new RangeError("Cannot set the clock: what it is given is no date");
}

/** Writes how much memory there is to the places where firmware and kernels look. */
function noteMemory(ram: Uint8Array, memory: DeviceBoard["ram"]): void {
  const word = (index: number, value: number) => {
    const stored = Math.min(Math.floor(value), 0xffff);
    ram[index] = stored & 0xff;
    ram[index + 1] = stored >> 8;
  };
  const base = bytesFrom(memory, 0, MOST_BASE_MEMORY);
  const extended = bytesFrom(memory, MIB, 4 * GIB);
  const high = bytesFrom(memory, 4 * GIB, Infinity);
  word(LOCATION.BASE_MEMORY, base / KIB);
  word(LOCATION.EXTENDED_MEMORY, extended / KIB);
  word(LOCATION.EXTENDED_MEMORY_AGAIN, extended / KIB);
  word(LOCATION.MEMORY_ABOVE_16_MIB, Math.max(0, extended - 15 * MIB) / UNIT);
  word(LOCATION.MEMORY_ABOVE_4_GIB, high / UNIT & 0xffff);
  ram[LOCATION.MEMORY_ABOVE_4_GIB + 2] = high / UNIT >> 16;
}

/** How much memory there is without a hole from an address on. */
function bytesFrom(memory: DeviceBoard["ram"], start: number, most: number): number {
  let end = start;
  for (const { gpa, size } of memory) {
    if (gpa <= end && gpa + size > end) end = gpa + size;
  }
  return Math.min(end, most) - start;
}

function storeChecksum(ram: Uint8Array): void {
  const sum = ram.subarray(CHECKED.first, CHECKED.last + 1).reduce((sum, byte) => sum + byte, 0);
  ram[LOCATION.CHECKSUM] = sum >> 8;
  ram[LOCATION.CHECKSUM + 1] = sum & 0xff;
}
