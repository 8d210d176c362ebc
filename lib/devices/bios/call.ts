import { hex } from "../../x86/hex.ts";
import type { DeviceBoard } from "../device.ts";

/** The registers that BIOS services take and give. */
export type BiosRegister = "ax" | "bx" | "cx" | "dx" | "si" | "di" | "bp";

/** A register of a call by its name: of 8, 16 and 32 bits, or a segment. */
// deno-fmt-ignore
export type CallRegister =
  | "al" | "ah" | "bl" | "bh" | "cl" | "ch" | "dl" | "dh"
  | "ax" | "bx" | "cx" | "dx" | "si" | "di" | "bp"
  | "eax" | "ebx" | "ecx" | "edx" | "esi" | "edi" | "ebp"
  | "ds" | "es";

const BYTES: readonly CallRegister[] = ["al", "ah", "bl", "bh", "cl", "ch", "dl", "dh"];
const WIDE: readonly CallRegister[] = ["eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"];
const WORDS: readonly CallRegister[] = ["ax", "bx", "cx", "dx", "si", "di", "bp", "ds", "es"];

/** All of them. */
export const CALL_REGISTERS: readonly CallRegister[] = [...BYTES, ...WORDS, ...WIDE];

/** How many bits it has. */
export function bitsOfCallRegister(name: CallRegister): 8 | 16 | 32 {
  return BYTES.includes(name) ? 8 : WIDE.includes(name) ? 32 : 16;
}

/** The vectors whose services say by CF that they have failed, and by AH why. */
const REPORT_BY_CARRY: readonly number[] = [0x13, 0x15, 0x1a];

/** Whether the services of a vector say by CF whether they have failed. */
export function reportsByCarry(vector: number): boolean {
  return REPORT_BY_CARRY.includes(vector);
}

/**
 * Checks that a service can fail so.
 *
 * @throws {TypeError} When the services of that vector say nothing by CF: no guest would look.
 * @throws {RangeError} When the status is none.
 */
export function checkCanFail(vector: number, status: number): void {
  if (!reportsByCarry(vector)) {
    throw new TypeError(
      `Cannot make a service of ${vectorName(vector)} fail: those do not say so by CF`,
    );
  }
  if (!Number.isInteger(status) || status < 0 || status > BYTE) {
    throw new RangeError(`Cannot make a service fail by ${status}: AH takes 0 to 0xff`);
  }
  if (status === 0) {
    throw new RangeError("Cannot make a service fail by the status 0: that is success");
  }
}

/** A vector as manuals write it: `"INT 13h"`. */
export function vectorName(vector: number): string {
  return `INT ${vector.toString(16).toUpperCase().padStart(2, "0")}h`;
}

/** A service as manuals write it: `"INT 13h AH=02h"`. */
export function serviceName(vector: number, ah: number): string {
  return `${vectorName(vector)} AH=${ah.toString(16).toUpperCase().padStart(2, "0")}h`;
}

/** Offset of the flags in the frame of an `int` in real mode: behind IP and CS. */
const FLAGS_OFFSET = 4;

/** Bits of FLAGS. */
const FLAG = { CARRY: 0x1, ZERO: 0x40, INTERRUPT: 0x200 } as const;

const BYTE_BITS = 8;
const PARAGRAPH_BITS = 4n;
const BYTE = 0xff;
const WORD = 0xffff;

/** A call of a BIOS service, as the host answers it: its registers, the flags that it returns, and memory. */
export class BiosCall {
  /** The vector of its `int`. */
  readonly vector: number;
  /** AH at the call: the function. */
  readonly ah: number;
  readonly #board: DeviceBoard;

  /** The call whose stub the CPU is in. */
  constructor(board: DeviceBoard, vector: number) {
    this.#board = board;
    this.vector = vector;
    this.ah = this.get("ax") >> BYTE_BITS;
  }

  /** A register of 16 bits. */
  get(name: BiosRegister): number {
    return Number(this.#board.cpu.get(name));
  }

  /** Its low byte: AL of `"ax"`. */
  low(name: BiosRegister): number {
    return this.get(name) & BYTE;
  }

  /** Its high byte. */
  high(name: BiosRegister): number {
    return this.get(name) >> BYTE_BITS;
  }

  /** All 32 bits. */
  wide(name: BiosRegister): number {
    return Number(this.#board.cpu.get(`e${name}`));
  }

  /** Sets a register of 16 bits. */
  set(name: BiosRegister, value: number): void {
    this.#board.cpu.set(name, value & WORD);
  }

  /** Sets its low byte. */
  setLow(name: BiosRegister, value: number): void {
    this.set(name, this.get(name) & ~BYTE | value & BYTE);
  }

  /** Sets its high byte. */
  setHigh(name: BiosRegister, value: number): void {
    this.set(name, this.low(name) | (value & BYTE) << BYTE_BITS);
  }

  /** Sets all 32 bits. */
  setWide(name: BiosRegister, value: number): void {
    this.#board.cpu.set(`e${name}`, value >>> 0);
  }

  /** Loads ES, in real mode. */
  setEs(selector: number): void {
    this.#board.cpu.set("es", selector);
  }

  /** The linear address of an offset in ES or DS. */
  address(segment: "es" | "ds", offset: number): number {
    return Number(this.#board.cpu.get(segment)) + (offset & WORD);
  }

  /** The value of any register that calls have; of a segment the selector. */
  read(name: CallRegister): number {
    const { cpu } = this.#board;
    if (name === "ds" || name === "es") return Number(cpu.get(name) >> PARAGRAPH_BITS);
    return Number(cpu.get(name));
  }

  /** Sets any of them. */
  write(name: CallRegister, value: number): void {
    this.#board.cpu.set(name, value);
  }

  /** The registers that services are told by. */
  get registers(): Readonly<Record<"ax" | "bx" | "cx" | "dx" | "si" | "di", number>> {
    const get = (name: BiosRegister) => this.get(name);
    return {
      ax: get("ax"),
      bx: get("bx"),
      cx: get("cx"),
      dx: get("dx"),
      si: get("si"),
      di: get("di"),
    };
  }

  /** The service that is called: `"INT 13h AH=02h"`. */
  get name(): string {
    return serviceName(this.vector, this.ah);
  }

  /** CF of the flags that are returned: whether the service failed. */
  get carry(): boolean {
    return (this.#flags & FLAG.CARRY) !== 0;
  }
  set carry(isSet: boolean) {
    this.#setFlag(FLAG.CARRY, isSet);
  }

  /** ZF, likewise. */
  set zero(isSet: boolean) {
    this.#setFlag(FLAG.ZERO, isSet);
  }

  /** IF, likewise. */
  set interrupts(isSet: boolean) {
    this.#setFlag(FLAG.INTERRUPT, isSet);
  }

  /** Says how it went: AH is the status, CF whether it is none of success. */
  result(status: number): void {
    this.setHigh("ax", status);
    this.carry = status !== 0;
  }

  #setFlag(flag: number, isSet: boolean): void {
    const changed = isSet ? this.#flags | flag : this.#flags & ~flag;
    const bytes = Uint8Array.of(changed & BYTE, changed >> BYTE_BITS);
    this.#board.memory.write(this.#flagsPlace, bytes);
  }

  get #flags(): number {
    const [low, high] = this.#board.memory.read(this.#flagsPlace, 2);
    return low | high << BYTE_BITS;
  }

  get #flagsPlace(): number {
    const { cpu } = this.#board;
    return Number(cpu.get("ss")) + (Number(cpu.get("sp")) + FLAGS_OFFSET & WORD);
  }
}

/** A call that was answered, in words: its registers, and after an arrow those that are other ones, and CF. */
export function callText(call: BiosCall, before: BiosCall["registers"]): string {
  const text = ([name, value]: [string, number]) => `${name} ${hex(value)}`;
  const after = Object.entries(call.registers);
  const given = Object.entries(before);
  const result = after.filter(([, value], index) => value !== given[index][1]).map(text);
  if (call.carry) result.push("cf");
  const shown = given.map(text).join(", ");
  return `${call.name}: ${shown}${result.length === 0 ? "" : ` → ${result.join(", ")}`}`;
}
