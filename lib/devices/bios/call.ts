import type { DeviceBoard } from "../device.ts";

/** The registers that BIOS services take and give. */
export type BiosRegister = "ax" | "bx" | "cx" | "dx" | "si" | "di" | "bp";

/** Offset of the flags in the frame of an `int` in real mode: behind IP and CS. */
const FLAGS_OFFSET = 4;

/** Bits of FLAGS. */
const FLAG = { CARRY: 0x1, ZERO: 0x40, INTERRUPT: 0x200 } as const;

const BYTE_BITS = 8;
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

  /** CF of the flags that are returned: whether the service failed. */
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
    const { cpu, memory } = this.#board;
    const place = Number(cpu.get("ss")) + (Number(cpu.get("sp")) + FLAGS_OFFSET & WORD);
    const [low, high] = memory.read(place, 2);
    const flags = low | high << BYTE_BITS;
    const changed = isSet ? flags | flag : flags & ~flag;
    memory.write(place, Uint8Array.of(changed & BYTE, changed >> BYTE_BITS));
  }
}
