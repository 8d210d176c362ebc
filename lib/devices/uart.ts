import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { PORT } from "../x86/layout.ts";
import { bytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard, InterruptLine } from "./device.ts";
import type { PortHandler } from "./handlers.ts";
import { DEFAULT_CAPACITY, KeptOutput } from "./kept_output.ts";
import {
  BYTE_BITS,
  DELTA_SHIFT,
  DELTAS,
  FIFO_CONTROL,
  FIFO_SIZE,
  FIFOS_ENABLED,
  INTERRUPT,
  INTERRUPT_ENABLE,
  LINE_CONTROL,
  LINE_STATUS,
  LOOPED_BACK,
  MODEM_CONTROL,
  MODEM_STATUS,
  REGISTER,
  REGISTERS,
  SHORTEST_WORD,
  TRIGGER_LEVELS,
} from "./uart_registers.ts";

const NOTHING_RECEIVED = 0x00;

/** Baud of divisor 1: the clock of 1.8432 MHz over 16. */
const HIGHEST_BAUD = 115_200;

/** The four serial lines of a PC: their ports and interrupts. */
const COM: Readonly<Record<ComPort, UartPlace>> = {
  COM1: { name: "COM1", base: PORT.com1, irq: 4 },
  COM2: { name: "COM2", base: PORT.com2, irq: 3 },
  COM3: { name: "COM3", base: PORT.com3, irq: 4 },
  COM4: { name: "COM4", base: PORT.com4, irq: 3 },
};

/** One of the four serial lines of a PC. */
export type ComPort = "COM1" | "COM2" | "COM3" | "COM4";

/** Where a UART is that is none of a PC's four. */
export interface UartPlace {
  /** The first of its eight ports. */
  readonly base: number;
  /** Its interrupt line. Default none. */
  readonly irq?: number;
  /** What it is called in tables of exits. Default `"UART"`. */
  readonly name?: string;
}

/** What a test can let go wrong on a serial line. */
export type SerialError = "parity" | "framing" | "break" | "overrun";

/** They, as bits of the line status. */
const ERRORS: Readonly<Record<SerialError, number>> = {
  parity: LINE_STATUS.PARITY,
  framing: LINE_STATUS.FRAMING,
  break: LINE_STATUS.BREAK | LINE_STATUS.FRAMING,
  overrun: LINE_STATUS.OVERRUN,
};

/** The inputs from a modem, or from whatever is at the other end. */
export interface ModemInputs {
  /** Clear to send. */
  readonly cts?: boolean;
  /** Data set ready. */
  readonly dsr?: boolean;
  /** Ring indicator. */
  readonly ri?: boolean;
  /** Data carrier detect. */
  readonly dcd?: boolean;
}

const PLACE: NamesOf<UartPlace> = { base: "value", irq: "value", name: "value" };
const MODEM: NamesOf<ModemInputs> = { cts: "flag", dsr: "flag", ri: "flag", dcd: "flag" };

interface State {
  interruptEnable: number;
  lineControl: number;
  modemControl: number;
  scratch: number;
  divisor: number;
  fifosAreOn: boolean;
  triggerLevel: number;
  /** The modem's inputs, at their places in the status register. */
  inputs: number;
  /** Which of them have changed since the status was read. */
  deltas: number;
  hasOverrun: boolean;
  /** Whether the empty holding register interrupts still. */
  holdingInterrupts: boolean;
  /** What the receiver holds that came by loopback. */
  loopedBack: number[];
  /** What the other end sends as soon as there is room: a byte each, with its errors above. */
  wire: number[];
}

function afterReset(): State {
  return {
    interruptEnable: 0,
    lineControl: 0,
    modemControl: 0,
    scratch: 0,
    divisor: 0,
    fifosAreOn: false,
    triggerLevel: 1,
    inputs: MODEM_STATUS.CTS | MODEM_STATUS.DSR | MODEM_STATUS.DCD,
    deltas: 0,
    hasOverrun: false,
    holdingInterrupts: false,
    loopedBack: [],
    wire: [],
  };
}

function copyOf(state: State): State {
  return { ...state, loopedBack: [...state.loopedBack], wire: [...state.wire] };
}

/**
 * A 16550A UART (PC16550D data sheet): FIFOs with their trigger levels, interrupts in their priorities, loopback, modem
 * lines, divisor latch. It keeps what the guest sends, and gives it what the test puts in with {@linkcode Uart.send}.
 *
 * A byte takes no time on the line: the transmitter is always empty, and what the test sends is received as soon as
 * there is room, so that none is lost; it waits where the receiver's FIFO is cleared, too. The interrupt for characters
 * that stay below the trigger level comes at once when nothing more is to come. Left out: DMA, and what the format and
 * the baud rate do to the bytes.
 *
 * Every machine has one at COM1 (ports 0x3f8 to 0x3ff, IRQ 4) unless it is booted with `serial: false`; others are
 * devices of the board: `new Uart("COM2")`.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Uart } from "@vmexit/vmexit/devices";
 *
 * const com2 = new Uart("COM2");
 * using vm = boot(asm`
 *   mov dx, 0x2f8
 *   in  al, dx
 *   mov dx, 0x3f8
 *   out dx, al
 *   hlt
 * `, { devices: [com2] });
 * com2.send("x");
 * vm.run();
 * console.log(vm.serial.text); // x
 * ```
 */
export class Uart implements Device {
  /** The name in tables of exits. */
  readonly name: string;
  readonly #base: number;
  readonly #irq: number | undefined;
  readonly #handler: PortHandler;
  readonly #sent: KeptOutput;
  #line: InterruptLine | undefined;
  #state = afterReset();

  /**
   * A UART that has neither sent nor received.
   *
   * @param place Which of a PC's serial lines, or where else.
   * @param capacity How many sent bytes are kept; the later ones are counted in {@linkcode Uart.dropped}.
   */
  constructor(place: ComPort | UartPlace = "COM1", capacity: number = DEFAULT_CAPACITY) {
    if (typeof place !== "string") checkOptions("make a UART", place, PLACE);
    const { base, irq, name = "UART" } = typeof place === "string" ? comPort(place) : place;
    this.#base = base;
    this.#irq = irq;
    this.name = name;
    this.#sent = new KeptOutput(capacity);
    this.#handler = bytePorts(base, REGISTERS, {
      name,
      read: (register) => this.#read(register),
      write: (register, byte) => this.#write(register, byte),
    });
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    if (this.#irq !== undefined) this.#line = board.interruptLine(this.#irq);
    board.ports.on([this.#base, this.#base + REGISTERS - 1], this.#handler);
  }

  /** See {@linkcode Device.reset}. The scratch register and the divisor stay, as does what is on the line. */
  reset(): void {
    const { scratch, divisor, inputs, wire } = this.#state;
    this.#state = { ...afterReset(), scratch, divisor, inputs, wire };
    this.#signal();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { state: copyOf(this.#state), sent: this.#sent.save() };
  }

  /** See {@linkcode Device.restore}. */
  restore(saved: unknown): void {
    const { state, sent } = saved as { state: State; sent: ReturnType<KeptOutput["save"]> };
    this.#state = copyOf(state);
    this.#sent.restore(sent);
    this.#signal();
  }

  /** The bytes that the guest has sent. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#sent.bytes;
  }

  /** The bytes that the guest has sent after the first `start`: what is new since they were looked at last. */
  bytesFrom(start: number): Uint8Array<ArrayBuffer> {
    return this.#sent.from(start);
  }

  /** The bytes that the guest has sent, as UTF-8. */
  get text(): string {
    return this.#sent.text;
  }

  /** How many bytes were sent after the first `capacity`, and are lost. */
  get dropped(): number {
    return this.#sent.dropped;
  }

  /** Puts bytes, or text as UTF-8, where the guest reads them. */
  send(input: string | Uint8Array): void {
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
    for (const byte of bytes) this.#state.wire.push(byte);
    this.#signal();
  }

  /**
   * Sends a byte with which something goes wrong. A break is received as a byte of 0, an overrun has lost a byte before.
   *
   * @throws {RangeError} When there is no such error.
   */
  sendError(error: SerialError, byte: number = 0): void {
    if (!Object.hasOwn(ERRORS, error)) {
      throw new RangeError(
        `Cannot send a byte with the error ${error}: there are ${Object.keys(ERRORS).join(", ")}`,
      );
    }
    this.#state.wire.push(byte & 0xff | ERRORS[error] << BYTE_BITS);
    this.#signal();
  }

  /** Sets inputs from the modem; the others stay. At first CTS, DSR and DCD are asserted. */
  setModem(changed: ModemInputs): void {
    checkOptions("set modem lines", changed, MODEM);
    const { cts, dsr, ri, dcd } = changed;
    const { CTS, DSR, RI, DCD } = MODEM_STATUS;
    let { inputs } = this.#state;
    for (const [bit, level] of [[CTS, cts], [DSR, dsr], [RI, ri], [DCD, dcd]] as const) {
      if (level !== undefined) inputs = level ? inputs | bit : inputs & ~bit;
    }
    const before = this.#modemLines;
    this.#state.inputs = inputs;
    this.#noteModem(before);
  }

  /** Whether the guest says that it is ready (DTR). */
  get dtr(): boolean {
    return this.#drives(MODEM_CONTROL.DTR);
  }

  /** Whether the guest asks to send (RTS). */
  get rts(): boolean {
    return this.#drives(MODEM_CONTROL.RTS);
  }

  /** Bits per second, by the divisor; undefined while that is 0. */
  get baudRate(): number | undefined {
    const { divisor } = this.#state;
    return divisor === 0 ? undefined : HIGHEST_BAUD / divisor;
  }

  /** How a byte is framed: `"8N1"`; parity is N, O, E, M (mark) or S (space). */
  get format(): string {
    const { lineControl } = this.#state;
    const has = (bit: number) => (lineControl & bit) !== 0;
    const parity = !has(LINE_CONTROL.PARITY)
      ? "N"
      : has(LINE_CONTROL.STICK)
      ? has(LINE_CONTROL.EVEN) ? "S" : "M"
      : has(LINE_CONTROL.EVEN)
      ? "E"
      : "O";
    const bits = SHORTEST_WORD + (lineControl & LINE_CONTROL.WORD_LENGTH);
    const stop = !has(LINE_CONTROL.TWO_STOP_BITS) ? "1" : bits === SHORTEST_WORD ? "1.5" : "2";
    return `${bits}${parity}${stop}`;
  }

  #drives(bit: number): boolean {
    const { modemControl } = this.#state;
    return (modemControl & bit) !== 0 && (modemControl & MODEM_CONTROL.LOOPBACK) === 0;
  }

  #read(register: number): number {
    const state = this.#state;
    switch (register) {
      case REGISTER.DATA:
        return this.#isDivisorLatched ? state.divisor & 0xff : this.#receive();
      case REGISTER.INTERRUPT_ENABLE:
        return this.#isDivisorLatched ? state.divisor >> BYTE_BITS : state.interruptEnable;
      case REGISTER.INTERRUPT_IDENTIFICATION: {
        const interrupt = this.#interrupt;
        if (interrupt === INTERRUPT.HOLDING_EMPTY) {
          state.holdingInterrupts = false;
          this.#signal();
        }
        return interrupt | (state.fifosAreOn ? FIFOS_ENABLED : 0);
      }
      case REGISTER.LINE_CONTROL:
        return state.lineControl;
      case REGISTER.MODEM_CONTROL:
        return state.modemControl;
      case REGISTER.LINE_STATUS:
        return this.#readLineStatus();
      case REGISTER.MODEM_STATUS: {
        const status = this.#modemLines | state.deltas;
        state.deltas = 0;
        this.#signal();
        return status;
      }
      default:
        return state.scratch;
    }
  }

  #write(register: number, byte: number): void {
    const state = this.#state;
    switch (register) {
      case REGISTER.DATA:
        if (this.#isDivisorLatched) state.divisor = state.divisor & 0xff00 | byte;
        else this.#transmit(byte);
        break;
      case REGISTER.INTERRUPT_ENABLE:
        if (this.#isDivisorLatched) state.divisor = byte << BYTE_BITS | state.divisor & 0xff;
        else this.#enableInterrupts(byte);
        break;
      case REGISTER.FIFO_CONTROL:
        this.#controlFifos(byte);
        break;
      case REGISTER.LINE_CONTROL:
        state.lineControl = byte;
        break;
      case REGISTER.MODEM_CONTROL: {
        const before = this.#modemLines;
        state.modemControl = byte & MODEM_CONTROL.ALL;
        this.#noteModem(before);
        break;
      }
      case REGISTER.SCRATCH:
        state.scratch = byte;
    }
    this.#signal();
  }

  get #isDivisorLatched(): boolean {
    return (this.#state.lineControl & LINE_CONTROL.DIVISOR_LATCH) !== 0;
  }

  get #isLoopedBack(): boolean {
    return (this.#state.modemControl & MODEM_CONTROL.LOOPBACK) !== 0;
  }

  /** How many bytes the receiver can hold. */
  get #room(): number {
    return this.#state.fifosAreOn ? FIFO_SIZE : 1;
  }

  /** How many bytes the receiver holds. In loopback it is cut off from the line. */
  get #level(): number {
    const { loopedBack, wire } = this.#state;
    return Math.min(this.#room, loopedBack.length + (this.#isLoopedBack ? 0 : wire.length));
  }

  /** The byte that is read next, with its errors; undefined for none. */
  get #next(): number | undefined {
    const { loopedBack, wire } = this.#state;
    return loopedBack[0] ?? (this.#isLoopedBack ? undefined : wire[0]);
  }

  #receive(): number {
    const { loopedBack, wire } = this.#state;
    if (this.#level === 0) return NOTHING_RECEIVED;
    const next = loopedBack.shift() ?? wire.shift()!;
    this.#signal();
    return next & 0xff;
  }

  #transmit(byte: number): void {
    const state = this.#state;
    state.holdingInterrupts = false;
    // The holding register is empty again at once: another edge.
    this.#signal();
    state.holdingInterrupts = true;
    if (!this.#isLoopedBack) {
      this.#sent.add(byte);
    } else if (state.loopedBack.length < this.#room) {
      state.loopedBack.push(byte);
    } else {
      state.hasOverrun = true;
      // Without FIFOs the new byte takes the place of the old one (8.5, bit 1).
      if (!state.fifosAreOn) state.loopedBack[0] = byte;
    }
  }

  #enableInterrupts(byte: number): void {
    const state = this.#state;
    const before = state.interruptEnable;
    state.interruptEnable = byte & INTERRUPT_ENABLE.ALL;
    if ((~before & byte & INTERRUPT_ENABLE.HOLDING_EMPTY) !== 0) state.holdingInterrupts = true;
  }

  #controlFifos(byte: number): void {
    const state = this.#state;
    const isOn = (byte & FIFO_CONTROL.ENABLE) !== 0;
    if (isOn !== state.fifosAreOn || (isOn && (byte & FIFO_CONTROL.CLEAR_RECEIVER) !== 0)) {
      state.loopedBack = [];
    }
    state.fifosAreOn = isOn;
    state.triggerLevel = isOn ? TRIGGER_LEVELS[byte >> FIFO_CONTROL.TRIGGER_SHIFT] : 1;
  }

  #readLineStatus(): number {
    const state = this.#state;
    const status = this.#lineStatus;
    state.hasOverrun = false;
    const { loopedBack, wire } = state;
    // Errors are cleared by the read; the byte stays.
    if (loopedBack.length === 0 && !this.#isLoopedBack && wire.length > 0) wire[0] &= 0xff;
    this.#signal();
    return status;
  }

  get #lineStatus(): number {
    const { hasOverrun, wire, loopedBack, fifosAreOn } = this.#state;
    const level = this.#level;
    const errors = (this.#next ?? 0) >> BYTE_BITS;
    const fromWire = Math.max(0, level - loopedBack.length);
    let hasFifoError = false;
    for (let index = 0; index < fromWire; index++) {
      hasFifoError ||= (wire[index] >> BYTE_BITS & ~LINE_STATUS.OVERRUN) !== 0;
    }
    return LINE_STATUS.HOLDING_EMPTY | LINE_STATUS.TRANSMITTER_EMPTY | errors |
      (level > 0 ? LINE_STATUS.DATA_READY : 0) | (hasOverrun ? LINE_STATUS.OVERRUN : 0) |
      (fifosAreOn && hasFifoError ? LINE_STATUS.FIFO_ERROR : 0);
  }

  get #modemLines(): number {
    const { inputs, modemControl } = this.#state;
    if (!this.#isLoopedBack) return inputs;
    return LOOPED_BACK.reduce((all, [from, to]) => (modemControl & from) === 0 ? all : all | to, 0);
  }

  #noteModem(before: number): void {
    const now = this.#modemLines;
    const changed = (before ^ now) & ~(now & MODEM_STATUS.RI);
    this.#state.deltas |= changed >> DELTA_SHIFT & DELTAS;
    this.#signal();
  }

  /** The interrupt of highest priority that is pending. */
  get #interrupt(): number {
    const { interruptEnable, triggerLevel, holdingInterrupts, deltas } = this.#state;
    if (
      (interruptEnable & INTERRUPT_ENABLE.LINE_STATUS) !== 0 &&
      (this.#lineStatus & LINE_STATUS.ERRORS) !== 0
    ) return INTERRUPT.LINE_STATUS;
    if ((interruptEnable & INTERRUPT_ENABLE.RECEIVED) !== 0) {
      const level = this.#level;
      if (level >= triggerLevel) return INTERRUPT.RECEIVED;
      if (level > 0) return INTERRUPT.TIMEOUT;
    }
    if ((interruptEnable & INTERRUPT_ENABLE.HOLDING_EMPTY) !== 0 && holdingInterrupts) {
      return INTERRUPT.HOLDING_EMPTY;
    }
    return (interruptEnable & INTERRUPT_ENABLE.MODEM_STATUS) !== 0 && deltas !== 0
      ? INTERRUPT.MODEM_STATUS
      : INTERRUPT.NONE;
  }

  #signal(): void {
    this.#line?.set(this.#interrupt !== INTERRUPT.NONE && this.#drives(MODEM_CONTROL.OUT2));
  }
}

function comPort(name: ComPort): UartPlace {
  if (Object.hasOwn(COM, name)) return COM[name];
  throw new RangeError(
    `Cannot make a serial line ${name}: there are ${
      Object.keys(COM).join(", ")
    }. Give its ports: { base: 0x3f8 }.`,
  );
}
