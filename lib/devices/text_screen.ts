import { PORT, TEXT_SCREEN } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard, DeviceMemory } from "./device.ts";

/** The 16 colours of VGA text, by their numbers. */
export const TEXT_COLORS = [
  "black",
  "blue",
  "green",
  "cyan",
  "red",
  "magenta",
  "brown",
  "light gray",
  "dark gray",
  "light blue",
  "light green",
  "light cyan",
  "light red",
  "light magenta",
  "yellow",
  "white",
] as const;

/** The name of a colour. */
export type TextColor = typeof TEXT_COLORS[number];

/** A place on the screen, from 0: its row and its column. */
export interface ScreenPlace {
  /** From the top. */
  readonly row: number;
  /** From the left. */
  readonly column: number;
}

/** A character on the screen. */
export interface ScreenCell {
  /** The character, of code page 437. */
  readonly character: string;
  /** Its colour. */
  readonly foreground: TextColor;
  /** That behind it. */
  readonly background: TextColor;
  /** Bit 7 of the attribute: it blinks, or has a bright background. */
  readonly blink: boolean;
}

const COLUMNS = 80;
const ROWS = 25;
const CELL = 2;

/** Registers of the CRT controller (IBM VGA Technical Reference, 2-53). */
const CRTC = {
  CURSOR_START: 0x0a,
  START_HIGH: 0x0c,
  START_LOW: 0x0d,
  CURSOR_HIGH: 0x0e,
  CURSOR_LOW: 0x0f,
};
const CRTC_REGISTERS = 25;
const CURSOR_OFF = 0x20;

/** Offsets from the first of VGA's ports. */
const OFFSET = {
  ATTRIBUTE: 0x0,
  MISC_READ: 0xc,
  MISC_WRITE: 0x2,
  CRTC_INDEX: 0x14,
  CRTC_DATA: 0x15,
  STATUS: 0x1a,
};
const COLOR_AT_3D4 = 0x01;
const RETRACE = 0x09;
const PORTS = 0x20;

/** Code page 437: what the character generator shows for 0 to 31 and from 127 on. */
const LOW = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH =
  "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀" +
  "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";
const FIRST_HIGH = 127;

/**
 * The text screen of a VGA: 80 columns and 25 rows at 0xb8000, and as much of the registers as text and its cursor take:
 * the CRT controller's (0x3d4, 0x3d5), the input status (0x3da, whose retrace bits change at each read) and the
 * miscellaneous output; the others of 0x3c0 to 0x3df hold what is written (IBM VGA Technical Reference, 2). Graphics
 * modes, fonts and the palette are left out.
 *
 * The memory is the machine's own, which must reach 0xb8fa0; `vm.screen` is the screen of a machine that has one.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect } from "@vmexit/vmexit";
 * import { TextScreen } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov ax, 0xb800
 *   mov es, ax
 *   mov word [es:0], 0x1f48       ; a white H on blue
 *   mov word [es:2], 0x1f69
 *   hlt
 * `, { devices: [new TextScreen()] });
 * vm.run();
 * expect(vm).toHaveScreen("Hi");
 * console.log(vm.screen.at({ row: 0, column: 0 }).background); // blue
 * ```
 */
export class TextScreen implements Device {
  /** See {@linkcode Device.name}. */
  readonly name = "VGA";
  readonly #registers = new Uint8Array(PORTS);
  readonly #crtc = new Uint8Array(CRTC_REGISTERS);
  #retrace = 0;
  #memory!: DeviceMemory;

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#memory = board.memory;
    claimBytePorts(board.ports, PORT.vga, PORTS, {
      name: this.name,
      read: (offset) => this.#read(offset),
      write: (offset, value) => this.#write(offset, value),
    });
    this.reset();
  }

  /** Colour text, with the cursor at the top left. Memory stays. */
  reset(): void {
    this.#registers.fill(0);
    this.#crtc.fill(0);
    this.#registers[OFFSET.MISC_READ] = COLOR_AT_3D4;
    this.#retrace = 0;
  }

  /** The registers. */
  save(): { registers: Uint8Array; crtc: Uint8Array; retrace: number } {
    return {
      registers: this.#registers.slice(),
      crtc: this.#crtc.slice(),
      retrace: this.#retrace,
    };
  }

  /** Sets them. */
  restore(state: unknown): void {
    const { registers, crtc, retrace } = state as ReturnType<TextScreen["save"]>;
    this.#registers.set(registers);
    this.#crtc.set(crtc);
    this.#retrace = retrace;
  }

  /** The rows, each without the blanks at its end. */
  get rows(): string[] {
    return Array.from({ length: ROWS }, (_, row) => {
      const cells = Array.from({ length: COLUMNS }, (_, column) => this.at({ row, column }));
      return cells.map(({ character }) => character).join("").trimEnd();
    });
  }

  /** The whole text: its rows, up to the last that has any. */
  get text(): string {
    return this.rows.join("\n").trimEnd();
  }

  /** Where the cursor is; undefined where it is off, or off the screen. */
  get cursor(): ScreenPlace | undefined {
    const at = (this.#crtc[CRTC.CURSOR_HIGH] << 8 | this.#crtc[CRTC.CURSOR_LOW]) - this.#start;
    const isOff = (this.#crtc[CRTC.CURSOR_START] & CURSOR_OFF) !== 0;
    if (isOff || at < 0 || at >= COLUMNS * ROWS) return undefined;
    return { row: Math.floor(at / COLUMNS), column: at % COLUMNS };
  }

  /** Moves the cursor, as firmware that the host plays does. */
  set cursor({ row, column }: ScreenPlace) {
    const at = this.#start + row * COLUMNS + column;
    this.#crtc[CRTC.CURSOR_HIGH] = at >> 8 & 0xff;
    this.#crtc[CRTC.CURSOR_LOW] = at & 0xff;
  }

  /**
   * What is at a place.
   *
   * @throws {RangeError} When it is none of the screen, or there is no memory.
   */
  at(place: ScreenPlace): ScreenCell {
    const [code, attribute] = this.#memory.read(this.#address(place), CELL);
    return {
      character: characterOf(code),
      foreground: TEXT_COLORS[attribute & 0xf],
      background: TEXT_COLORS[attribute >> 4 & 0x7],
      blink: (attribute & 0x80) !== 0,
    };
  }

  /** Puts a character at a place, as firmware that the host plays does. */
  put(place: ScreenPlace, code: number, attribute?: number): void {
    const bytes = attribute === undefined ? [code] : [code, attribute];
    this.#memory.write(this.#address(place), Uint8Array.from(bytes));
  }

  /** The cell where the display begins, by which pages are shown. */
  get #start(): number {
    return this.#crtc[CRTC.START_HIGH] << 8 | this.#crtc[CRTC.START_LOW];
  }

  #address({ row, column }: ScreenPlace): number {
    const isThere = Number.isInteger(row) && Number.isInteger(column) && row >= 0 && row < ROWS &&
      column >= 0 && column < COLUMNS;
    if (!isThere) {
      throw new RangeError(
        `Cannot look at row ${row}, column ${column}: the screen has rows 0 to ${
          ROWS - 1
        }, columns 0 to ${COLUMNS - 1}`,
      );
    }
    const cell = this.#start + row * COLUMNS + column;
    return TEXT_SCREEN.start + cell * CELL % TEXT_SCREEN.size;
  }

  #read(offset: number): number {
    switch (offset) {
      case OFFSET.CRTC_DATA:
        return this.#crtc[this.#registers[OFFSET.CRTC_INDEX]] ?? 0;
      case OFFSET.STATUS:
        // A guest that waits for the retrace, or for its end, comes to both.
        return this.#retrace ^= RETRACE;
      default:
        return this.#registers[offset];
    }
  }

  #write(offset: number, byte: number): void {
    if (offset === OFFSET.CRTC_DATA) {
      const index = this.#registers[OFFSET.CRTC_INDEX];
      if (index < CRTC_REGISTERS) this.#crtc[index] = byte;
    } else if (offset === OFFSET.MISC_WRITE) this.#registers[OFFSET.MISC_READ] = byte;
    else if (offset !== OFFSET.STATUS) this.#registers[offset] = byte;
  }
}

function characterOf(code: number): string {
  if (code < LOW.length) return LOW[code];
  return code < FIRST_HIGH ? String.fromCharCode(code) : HIGH[code - FIRST_HIGH];
}
