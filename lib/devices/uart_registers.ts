/**
 * Registers and bits of a 16550 UART (PC16550D data sheet).
 *
 * @module
 */
/** Registers of a 16550 UART, as offsets from its base port (PC16550D data sheet, table II). */
export const REGISTER = {
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

export const REGISTERS = 8;
export const BYTE_BITS = 8;

/** The interrupts that are enabled: bits 4 to 7 are always 0 (8.7). */
export const INTERRUPT_ENABLE = {
  RECEIVED: 0x01,
  HOLDING_EMPTY: 0x02,
  LINE_STATUS: 0x04,
  MODEM_STATUS: 0x08,
  ALL: 0x0f,
} as const;

/** Interrupt identification, the highest priority first (table IV). */
export const INTERRUPT = {
  LINE_STATUS: 0x06,
  RECEIVED: 0x04,
  TIMEOUT: 0x0c,
  HOLDING_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
} as const;

/** Bits 6 and 7 of the interrupt identification: the FIFOs are on, by which a 16550A is told from its elders. */
export const FIFOS_ENABLED = 0xc0;

export const FIFO_CONTROL = { ENABLE: 0x01, CLEAR_RECEIVER: 0x02, TRIGGER_SHIFT: 6 } as const;

export const FIFO_SIZE = 16;

/** The levels of the receiver's FIFO at which it interrupts (8.6). */
export const TRIGGER_LEVELS = [1, 4, 8, 14];

export const LINE_CONTROL = {
  WORD_LENGTH: 0x03,
  TWO_STOP_BITS: 0x04,
  PARITY: 0x08,
  EVEN: 0x10,
  STICK: 0x20,
  BREAK: 0x40,
  DIVISOR_LATCH: 0x80,
} as const;

export const SHORTEST_WORD = 5;

export const MODEM_CONTROL = {
  DTR: 0x01,
  RTS: 0x02,
  OUT1: 0x04,
  /** On a PC this output lets the interrupt through to the controller. */
  OUT2: 0x08,
  LOOPBACK: 0x10,
  ALL: 0x1f,
} as const;

export const LINE_STATUS = {
  DATA_READY: 0x01,
  OVERRUN: 0x02,
  PARITY: 0x04,
  FRAMING: 0x08,
  BREAK: 0x10,
  /** Those that interrupt. */
  ERRORS: 0x1e,
  HOLDING_EMPTY: 0x20,
  TRANSMITTER_EMPTY: 0x40,
  FIFO_ERROR: 0x80,
} as const;

export const MODEM_STATUS = { CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80, LINES: 0xf0 } as const;

/** The delta bits are so far below their lines. That of RI is of its trailing edge (8.8). */
export const DELTA_SHIFT = 4;
export const DELTAS = 0x0f;

/** What the modem's inputs are wired to in loopback: status bit by control bit (8.8). */
export const LOOPED_BACK: readonly (readonly [control: number, status: number])[] = [
  [MODEM_CONTROL.RTS, MODEM_STATUS.CTS],
  [MODEM_CONTROL.DTR, MODEM_STATUS.DSR],
  [MODEM_CONTROL.OUT1, MODEM_STATUS.RI],
  [MODEM_CONTROL.OUT2, MODEM_STATUS.DCD],
];
