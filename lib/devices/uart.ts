import type { PortHandler } from "./handlers.ts";

/** Registers of a 16550 UART, as offsets from its base port (PC16550D data sheet, table II). */
const REGISTER = {
  DATA: 0,
  INTERRUPT_ENABLE: 1,
  INTERRUPT_IDENTIFICATION: 2,
  /** The same offset, for writes. */
  FIFO_CONTROL: 2,
  LINE_CONTROL: 3,
  MODEM_CONTROL: 4,
  LINE_STATUS: 5,
  MODEM_STATUS: 6,
  SCRATCH: 7,
} as const;

const BYTE_BITS = 8;

/** How many ports a 16550 takes. */
export const UART_PORTS = 8;

const LINE_CONTROL_DLAB = 0x80;
const LINE_STATUS = { DATA_READY: 0x01, HOLDING_EMPTY: 0x20, TRANSMITTER_EMPTY: 0x40 } as const;
const MODEM_STATUS_CONNECTED = 0xb0;
const NO_INTERRUPT_PENDING = 0x01;
const FIFO_CONTROL_ENABLE = 0x01;
/** Bits 6 and 7 of the interrupt identification: the FIFOs are on, by which a 16550A is told from its elders. */
const FIFOS_ENABLED = 0xc0;
const MODEM_CONTROL = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOPBACK: 0x10 } as const;
/** What the modem's inputs are wired to in loopback: status bit by control bit. */
const LOOPED_BACK: readonly (readonly [control: number, status: number])[] = [
  [MODEM_CONTROL.RTS, 0x10],
  [MODEM_CONTROL.DTR, 0x20],
  [MODEM_CONTROL.OUT1, 0x40],
  [MODEM_CONTROL.OUT2, 0x80],
];
const NOTHING_RECEIVED = 0x00;

/** How much output is kept by default: a guest that never stops talking must not fill the host. */
const DEFAULT_CAPACITY = 1 << 20;

/**
 * A 16550A UART as far as polling goes: it is always ready to send, keeps what was sent, and gives what the
 * test puts in with {@linkcode Uart.send}. In loopback the guest reads what it sends. It raises no interrupts
 * (PC16550D data sheet, 8).
 *
 * Every machine has one at COM1 (ports 0x3f8 to 0x3ff) unless it is booted with `serial: false`.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov dx, 0x3f8
 *   in  al, dx
 *   out dx, al
 *   hlt
 * `);
 * vm.serial.send("x");
 * vm.run();
 * console.log(vm.serial.text); // x
 * ```
 */
export class Uart implements PortHandler {
  /** The name in tables of exits. */
  readonly name: string;
  readonly #base: number;
  readonly #capacity: number;
  readonly #received: number[] = [];
  readonly #registers = new Uint8Array(UART_PORTS);
  readonly #divisor = new Uint8Array(2);
  #sent = new Uint8Array(256);
  #length = 0;
  #dropped = 0;

  /**
   * A UART that has neither sent nor received.
   *
   * @param base The first of its eight ports.
   * @param capacity How many sent bytes are kept; the later ones are counted in {@linkcode Uart.dropped}.
   */
  constructor(base: number, name: string, capacity: number = DEFAULT_CAPACITY) {
    this.#base = base;
    this.name = name;
    this.#capacity = capacity;
  }

  /** The bytes that the guest has sent. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#sent.slice(0, this.#length);
  }

  /** The bytes that the guest has sent, as UTF-8. */
  get text(): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes);
  }

  /** How many bytes were sent after the first `capacity`, and are lost. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Puts bytes, or text as UTF-8, where the guest reads them. */
  send(input: string | Uint8Array): void {
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
    for (const byte of bytes) this.#received.push(byte);
  }

  /** Answers an `in`. A wider one reads a register after the other, as the bus splits it for a device of 8 bits. */
  read(port: number, size: number = 1): number {
    let value = 0;
    for (let index = 0; index < size; index++) {
      value += this.#readRegister(port - this.#base + index) * 2 ** (BYTE_BITS * index);
    }
    return value;
  }

  #readRegister(register: number): number {
    switch (register) {
      case REGISTER.DATA:
      case REGISTER.INTERRUPT_ENABLE:
        if (this.#divisorLatched) return this.#divisor[register];
        if (register === REGISTER.DATA) return this.#received.shift() ?? NOTHING_RECEIVED;
        return this.#registers[register];
      case REGISTER.INTERRUPT_IDENTIFICATION:
        return NO_INTERRUPT_PENDING | (this.#fifosAreOn ? FIFOS_ENABLED : 0);
      case REGISTER.LINE_STATUS:
        return LINE_STATUS.HOLDING_EMPTY | LINE_STATUS.TRANSMITTER_EMPTY |
          (this.#received.length > 0 ? LINE_STATUS.DATA_READY : 0);
      case REGISTER.MODEM_STATUS:
        return this.#isLoopedBack ? this.#loopedBackStatus : MODEM_STATUS_CONNECTED;
      default:
        return this.#registers[register];
    }
  }

  /** Takes an `out`. A wider one writes a register after the other, as the bus splits it for a device of 8 bits. */
  write(port: number, value: number, size: number = 1): void {
    for (let index = 0; index < size; index++) {
      this.#writeRegister(port - this.#base + index, value >>> BYTE_BITS * index & 0xff);
    }
  }

  #writeRegister(register: number, byte: number): void {
    if (register <= REGISTER.INTERRUPT_ENABLE && this.#divisorLatched) {
      this.#divisor[register] = byte;
    } else if (register === REGISTER.DATA) {
      if (this.#isLoopedBack) this.#received.push(byte);
      else this.#append(byte);
    } else {
      this.#registers[register] = byte;
    }
  }

  get #fifosAreOn(): boolean {
    return (this.#registers[REGISTER.FIFO_CONTROL] & FIFO_CONTROL_ENABLE) !== 0;
  }

  get #isLoopedBack(): boolean {
    return (this.#registers[REGISTER.MODEM_CONTROL] & MODEM_CONTROL.LOOPBACK) !== 0;
  }

  get #loopedBackStatus(): number {
    const control = this.#registers[REGISTER.MODEM_CONTROL];
    return LOOPED_BACK.reduce((all, [from, to]) => (control & from) === 0 ? all : all | to, 0);
  }

  get #divisorLatched(): boolean {
    return (this.#registers[REGISTER.LINE_CONTROL] & LINE_CONTROL_DLAB) !== 0;
  }

  #append(byte: number): void {
    if (this.#length === this.#capacity) {
      this.#dropped++;
      return;
    }
    if (this.#length === this.#sent.length) {
      const grown = new Uint8Array(Math.min(2 * this.#length, this.#capacity));
      grown.set(this.#sent);
      this.#sent = grown;
    }
    this.#sent[this.#length++] = byte;
  }
}
