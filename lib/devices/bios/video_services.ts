import { TEXT_SCREEN } from "../../x86/layout.ts";
import type { DeviceMemory } from "../device.ts";
import type { TextScreen } from "../text_screen.ts";
import type { BiosCall } from "./call.ts";
import { BiosDataArea } from "./data_area.ts";

const COLUMNS = 80;
const ROWS = 25;
const NORMAL = 0x07;
const BLANK = 0x20;

const CONTROL = { BELL: 7, BACKSPACE: 8, LINE_FEED: 10, CARRIAGE_RETURN: 13 } as const;

/** Text modes: 80 columns, in colour. Those of 40 columns, and graphics, there are not. */
const TEXT_MODES: readonly number[] = [2, 3];
const MODE = 3;

/** In the BIOS data area. */
const DATA = {
  MODE: 0x49,
  COLUMNS: 0x4a,
  CURSOR: 0x50,
  SHAPE: 0x60,
  PAGE: 0x62,
  CRTC: 0x63,
  ROWS: 0x84,
};
const CRTC_PORT = 0x3d4;
const SHAPE = 0x0607;

/** INT 10h on a text screen. */
export class VideoServices {
  readonly #screen: TextScreen;
  readonly #memory: DeviceMemory;
  readonly #data: BiosDataArea;
  /** What teletype output (AH=0Eh) and strings (AH=13h) have printed, whether it has scrolled away or not. */
  printed = "";

  /** Those of one machine; clears the screen. */
  constructor(screen: TextScreen, memory: DeviceMemory) {
    this.#screen = screen;
    this.#memory = memory;
    this.#data = new BiosDataArea(memory);
    this.#clear();
  }

  /** Answers a call. False for a function that there is not. */
  answer(call: BiosCall): boolean {
    const { row, column } = this.#cursor;
    switch (call.ah) {
      case 0x00:
        if (TEXT_MODES.includes(call.low("ax") & 0x7f)) {
          if ((call.low("ax") & 0x80) === 0) this.#clear();
          return true;
        }
        return false;
      case 0x01:
        this.#data.set(DATA.SHAPE, call.get("cx"));
        return true;
      case 0x02:
        this.#moveTo(call.high("dx"), call.low("dx"));
        return true;
      case 0x03:
        call.set("cx", this.#data.get(DATA.SHAPE));
        call.set("dx", row << 8 | column);
        return true;
      case 0x05:
        return true;
      case 0x06:
      case 0x07:
        this.#scroll(call);
        return true;
      case 0x08: {
        const [code, attribute] = this.#memory.read(this.#address(row, column), 2);
        call.set("ax", attribute << 8 | code);
        return true;
      }
      case 0x09:
      case 0x0a:
        for (let index = 0; index < Math.min(call.get("cx"), COLUMNS * ROWS); index++) {
          const at = row * COLUMNS + column + index;
          if (at >= COLUMNS * ROWS) break;
          const attribute = call.ah === 0x09 ? call.low("bx") : undefined;
          this.#put(Math.floor(at / COLUMNS), at % COLUMNS, call.low("ax"), attribute);
        }
        return true;
      case 0x0e:
        this.#type(call.low("ax"), undefined);
        return true;
      case 0x0f:
        call.set("ax", COLUMNS << 8 | MODE);
        call.setHigh("bx", 0);
        return true;
      case 0x10:
        return true;
      case 0x11:
        if (call.low("ax") !== 0x30) return true;
        call.set("cx", 16);
        call.setLow("dx", ROWS - 1);
        return true;
      case 0x12:
        if (call.low("bx") !== 0x10) return false;
        call.set("bx", 0x0003);
        call.set("cx", 0x0009);
        return true;
      case 0x13:
        this.#string(call);
        return true;
      case 0x1a:
        if (call.low("ax") !== 0) return false;
        call.setLow("ax", 0x1a);
        call.set("bx", 0x0008);
        return true;
      default:
        return false;
    }
  }

  #string(call: BiosCall): void {
    const flags = call.low("ax");
    const before = this.#cursor;
    const address = call.address("es", call.get("bp"));
    const size = (flags & 2) === 0 ? 1 : 2;
    this.#moveTo(call.high("dx"), call.low("dx"));
    const bytes = this.#memory.read(address, call.get("cx") * size);
    for (let index = 0; index < bytes.length; index += size) {
      this.#type(bytes[index], size === 2 ? bytes[index + 1] : call.low("bx"));
    }
    if ((flags & 1) === 0) this.#moveTo(before.row, before.column);
  }

  #type(code: number, attribute: number | undefined): void {
    let { row, column } = this.#cursor;
    this.printed += String.fromCharCode(code);
    switch (code) {
      case CONTROL.BELL:
        return;
      case CONTROL.BACKSPACE:
        column = Math.max(0, column - 1);
        break;
      case CONTROL.CARRIAGE_RETURN:
        column = 0;
        break;
      case CONTROL.LINE_FEED:
        row++;
        break;
      default:
        this.#put(row, column++, code, attribute);
        if (column === COLUMNS) {
          column = 0;
          row++;
        }
    }
    if (row === ROWS) {
      row = ROWS - 1;
      this.#scrollUp(0, 0, ROWS - 1, COLUMNS - 1, NORMAL);
    }
    this.#moveTo(row, column);
  }

  #scroll(call: BiosCall): void {
    const lines = call.low("ax");
    const [top, left] = [call.high("cx"), call.low("cx")];
    const bottom = Math.min(call.high("dx"), ROWS - 1);
    const right = Math.min(call.low("dx"), COLUMNS - 1);
    const height = bottom - top + 1;
    const count = lines === 0 ? height : Math.min(lines, height);
    for (let done = 0; done < count; done++) {
      if (call.ah === 0x06) this.#scrollUp(top, left, bottom, right, call.high("bx"));
      else this.#scrollDown(top, left, bottom, right, call.high("bx"));
    }
  }

  #scrollUp(top: number, left: number, bottom: number, right: number, attribute: number): void {
    for (let row = top; row < bottom; row++) this.#copyRow(row + 1, row, left, right);
    this.#blankRow(bottom, left, right, attribute);
  }

  #scrollDown(top: number, left: number, bottom: number, right: number, attribute: number): void {
    for (let row = bottom; row > top; row--) this.#copyRow(row - 1, row, left, right);
    this.#blankRow(top, left, right, attribute);
  }

  #copyRow(from: number, to: number, left: number, right: number): void {
    if (right < left) return;
    const bytes = this.#memory.read(this.#address(from, left), 2 * (right - left + 1));
    this.#memory.write(this.#address(to, left), bytes);
  }

  #blankRow(row: number, left: number, right: number, attribute: number): void {
    for (let column = left; column <= right; column++) this.#put(row, column, BLANK, attribute);
  }

  #clear(): void {
    for (let row = 0; row < ROWS; row++) this.#blankRow(row, 0, COLUMNS - 1, NORMAL);
    this.#data.set(DATA.MODE, MODE);
    this.#data.set(DATA.COLUMNS, COLUMNS);
    this.#data.set(DATA.SHAPE, SHAPE);
    this.#data.set(DATA.CRTC, CRTC_PORT);
    this.#data.set(DATA.ROWS, ROWS - 1);
    this.#moveTo(0, 0);
  }

  get #cursor(): { row: number; column: number } {
    const word = this.#data.get(DATA.CURSOR);
    return { row: Math.min(word >> 8, ROWS - 1), column: Math.min(word & 0xff, COLUMNS - 1) };
  }

  #moveTo(row: number, column: number): void {
    this.#data.set(DATA.CURSOR, (row & 0xff) << 8 | column & 0xff);
    this.#screen.cursor = { row, column };
  }

  #put(row: number, column: number, code: number, attribute: number | undefined): void {
    const bytes = attribute === undefined ? [code] : [code, attribute];
    this.#memory.write(this.#address(row, column), Uint8Array.from(bytes));
  }

  #address(row: number, column: number): number {
    return TEXT_SCREEN.start + 2 * (row * COLUMNS + column);
  }
}
