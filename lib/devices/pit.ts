import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard, InterruptLine } from "./device.ts";
import type { Timers } from "./timers.ts";
import { Counter, type CounterState } from "./pit_counter.ts";

/** The frequency of the counters' clock, in Hz: a twelfth of 14.31818 MHz. */
export const PIT_FREQUENCY = 1_193_182;

const NANOSECONDS = 1e9;

const COUNTERS = 3;

/** The control word register's offset (8254 data sheet, table 1). */
const CONTROL = 3;

/** A control word's counter, and what stands there for the read-back command (figure 7). */
const SELECT_SHIFT = 6;
const READ_BACK = 3;

/** The read-back command: what is not to be latched, and the counters' bits from 1 on (figure 10). */
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
const READ_BACK_COUNTERS_SHIFT = 1;

/** The counter of IRQ 0, and that of the speaker. */
const TIMER = 0;
const SPEAKER = 2;

/** Port 0x61 of a PC (82371AB, "NMI Status and Control Register"). */
const SPEAKER_PORT = { GATE: 0x01, DATA: 0x02, WRITABLE: 0x0f, REFRESH: 0x10, OUT: 0x20 } as const;

/** Ticks between refresh cycles of memory: 15 µs. */
const REFRESH_TICKS = 18;

/**
 * The interval timer (8254) of a PC: counter 0 is IRQ 0, counter 2 the speaker with its gate at port 0x61, where the
 * refresh toggle is too. The kernel has one of its own (the option `pit`).
 *
 * 8254 data sheet (Intel 231164): modes 0 to 5, counts in binary and BCD, one or two bytes, counter latch and read-back
 * commands. Left out: a new count of a running mode 3 comes into force at the end of the period, not of the half;
 * counter 1 has no gate and refreshes nothing.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov word [0x08 * 4], on_tick
 *   mov word [0x08 * 4 + 2], 0
 *   mov al, 0x34            ; counter 0, two bytes, mode 2
 *   out 0x43, al
 *   mov al, 0xa9            ; 1193: a tick each millisecond
 *   out 0x40, al
 *   mov al, 0x04
 *   out 0x40, al
 * again:
 *   sti
 *   hlt
 *   cli
 *   cmp bl, 3
 *   jb again
 *   hlt
 * on_tick:
 *   inc bl
 *   mov al, 0x20
 *   out 0x20, al
 *   iret
 * `, { clock: new TestClock(), devices: [new Pic({ vectors: [0x08, 0x70] }), new Pit()] });
 * vm.run();
 * console.log(vm.registers.bl); // 3
 * ```
 */
export class Pit implements Device {
  /** The name in tables of exits. */
  readonly name = "PIT";
  readonly #counters = Array.from(
    { length: COUNTERS },
    (_, index) => new Counter(index !== SPEAKER),
  );
  #timers!: Timers;
  /** When it began to count ticks, by the board's time. */
  #start = 0;
  #line!: InterruptLine;
  #planned: Disposable | undefined;
  /** How many rising edges counter 0 has had since it was programmed. */
  #edges = 0;
  #speakerBits = 0;
  #isAsserted = false;

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#timers = board.timers;
    this.#line = board.interruptLine(TIMER);
    claimBytePorts(board.ports, PORT.pit, COUNTERS + 1, {
      name: this.name,
      read: (offset) => offset === CONTROL ? 0 : this.#counters[offset].read(this.#tick),
      write: (offset, value) => this.#write(offset, value),
    });
    claimBytePorts(board.ports, PORT.speaker, 1, {
      name: this.name,
      read: () => this.#readSpeaker(),
      write: (_offset, value) => this.#writeSpeaker(value),
    });
  }

  /** See {@linkcode Device.reset}. What an 8254 counts then is undefined; these do not count until they are told to. */
  reset(): void {
    for (const counter of this.#counters) counter.reset();
    this.#edges = 0;
    this.#speakerBits = 0;
    this.#setLine(false);
    this.#plan();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return {
      elapsed: this.#elapsed,
      edges: this.#edges,
      speakerBits: this.#speakerBits,
      isAsserted: this.#isAsserted,
      counters: this.#counters.map((counter) => structuredClone(counter.state)),
    };
  }

  /** See {@linkcode Device.restore}. Time goes on from where it was saved. */
  restore(state: unknown): void {
    const { elapsed, edges, speakerBits, isAsserted, counters } = state as {
      elapsed: number;
      edges: number;
      speakerBits: number;
      isAsserted: boolean;
      counters: CounterState[];
    };
    for (const [index, counter] of this.#counters.entries()) {
      counter.state = structuredClone(counters[index]);
    }
    this.#start = this.#timers.now - elapsed;
    this.#edges = edges;
    this.#speakerBits = speakerBits;
    this.#setLine(isAsserted);
    this.#plan();
  }

  /** The frequency that the speaker gives, in Hz; undefined where it is silent. */
  get tone(): number | undefined {
    const isOn = (this.#speakerBits & SPEAKER_PORT.DATA) !== 0;
    const { period } = this.#counters[SPEAKER];
    return isOn && period !== undefined ? PIT_FREQUENCY / period : undefined;
  }

  get #tick(): number {
    return Math.floor(this.#elapsed * PIT_FREQUENCY / NANOSECONDS);
  }

  get #elapsed(): number {
    return this.#timers.now - this.#start;
  }

  #write(offset: number, value: number): void {
    // What is due by now comes before what is written.
    this.#deliver();
    const tick = this.#tick;
    if (offset !== CONTROL) {
      this.#counters[offset].write(value, tick);
    } else if (value >> SELECT_SHIFT === READ_BACK) {
      for (const [index, counter] of this.#counters.entries()) {
        if ((value >> READ_BACK_COUNTERS_SHIFT + index & 1) === 0) continue;
        // The status is that at the time of the command, and is read first.
        if ((value & READ_BACK_NO_STATUS) === 0) counter.latchStatus(tick);
        if ((value & READ_BACK_NO_COUNT) === 0) counter.latchCount(tick);
      }
      return;
    } else {
      this.#counters[value >> SELECT_SHIFT].control(value, tick);
    }
    // What a new mode or count does to the output is no tick.
    this.#edges = this.#counters[TIMER].edges(tick);
    this.#plan();
  }

  /** Ticks that were due, as one: what the CPU has missed is in no controller either. */
  #deliver(): void {
    const edges = this.#counters[TIMER].edges(this.#tick);
    if (edges > this.#edges) {
      this.#setLine(false);
      this.#setLine(true);
    }
    this.#edges = edges;
  }

  #setLine(asserted: boolean): void {
    this.#isAsserted = asserted;
    this.#line.set(asserted);
  }

  #plan(): void {
    this.#planned?.[Symbol.dispose]();
    const next = this.#counters[TIMER].nextEdge(this.#tick);
    if (next === undefined) {
      this.#planned = undefined;
      return;
    }
    const { now } = this.#timers;
    const time = this.#start + Math.ceil(next * NANOSECONDS / PIT_FREQUENCY);
    const deadline = Math.max(time, now + 1);
    this.#planned = this.#timers.at(deadline, () => {
      this.#deliver();
      this.#plan();
    });
  }

  #readSpeaker(): number {
    const tick = this.#tick;
    const isRefreshing = Math.floor(tick / REFRESH_TICKS) % 2 === 1;
    return this.#speakerBits |
      (isRefreshing ? SPEAKER_PORT.REFRESH : 0) |
      (this.#counters[SPEAKER].output(tick) ? SPEAKER_PORT.OUT : 0);
  }

  #writeSpeaker(value: number): void {
    this.#speakerBits = value & SPEAKER_PORT.WRITABLE;
    this.#counters[SPEAKER].setGate((value & SPEAKER_PORT.GATE) !== 0, this.#tick);
  }
}
