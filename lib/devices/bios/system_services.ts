import {
  conventionalMemory,
  memoryMap,
  type MemoryMapEntry,
} from "../../x86/boot/protocols/memory_map.ts";
import { BIOS, PC_MEMORY } from "../../x86/layout.ts";
import type { DeviceBoard } from "../device.ts";
import type { BiosCall } from "./call.ts";
import type { BiosQuirks } from "./quirks.ts";

const PARAGRAPH = 16;

/** A MiB, and 64 KiB, in KiB. */
const MIB = 1024;
const UNIT = 64;
const SIGNATURE = 0x534d_4150;
const UNSUPPORTED = 0x86;

/** The extended BIOS data area, and the BIOS. */
const RESERVED = [
  { gpa: BIOS.conventionalEnd, size: PC_MEMORY.adapters - BIOS.conventionalEnd },
  { gpa: BIOS.segment * PARAGRAPH, size: PC_MEMORY.high - BIOS.segment * PARAGRAPH },
];
const ENTRY = { short: 20, long: 24 } as const;

/** AH=87h: the descriptors of source and destination in the table at ES:SI. */
const MOVE = { SOURCE: 0x12, DESTINATION: 0x1a, size: 0x30, most: 0x8000 } as const;

/** By what else A20 can be switched: BX of AX=2403h. */
const A20_BY = { KEYBOARD_CONTROLLER: 0x1, PORT_92: 0x2 } as const;

/** Ticks of the timer a second. */
const TICKS = 1_193_182 / 65_536;
const NANOSECONDS = 1e9;
const MICROSECONDS = 1000;
const SECONDS_PER_DAY = 86_400;

/** How often the time limit is looked at while time passes. */
const LOOK_MILLISECONDS = 5;

/** Where adapters of ISA had a hole, and its end, counted from 1 MiB on, in KiB. */
const ISA_HOLE = 14 * MIB;
const HOLE_END = 15 * MIB;

/** INT 15h and INT 1Ah. */
export class SystemServices {
  readonly #board: DeviceBoard;
  readonly #quirks: BiosQuirks;
  readonly #date: Date;
  /** When the machine was booted, by the board's time: restored, it has run as long as it had. */
  #start = 0;

  /** Those of one machine. */
  constructor(board: DeviceBoard, quirks: BiosQuirks, date: Date) {
    this.#board = board;
    this.#quirks = quirks;
    this.#date = date;
  }

  /** How long the machine has run, in nanoseconds. */
  get elapsed(): number {
    return this.#board.timers.now - this.#start;
  }
  set elapsed(nanoseconds: number) {
    this.#start = this.#board.timers.now - nanoseconds;
  }

  /** Answers INT 15h. False for a function that there is not. */
  answer(call: BiosCall): boolean {
    switch (call.get("ax")) {
      case 0xe820:
        return this.#memoryMap(call);
      case 0xe801:
        return this.#extended(call);
      case 0x2400:
      case 0x2401:
        this.#board.a20 = call.low("ax") === 1;
        return call.result(0), true;
      case 0x2402:
        call.set("ax", this.#board.a20 ? 1 : 0);
        call.carry = false;
        return true;
      case 0x2403:
        call.set("bx", A20_BY.KEYBOARD_CONTROLLER | A20_BY.PORT_92);
        return call.result(0), true;
    }
    switch (call.ah) {
      case 0x86:
        // Time passes for the guest's devices.
        this.#wait(call.get("cx") * 0x1_0000 + call.get("dx"));
        call.carry = false;
        return true;
      case 0x87:
        return this.#move(call);
      case 0x88:
        call.set("ax", Math.min(this.#extendedMemory, ISA_HOLE));
        call.carry = false;
        return true;
      case 0xc0:
        call.setEs(BIOS.segment);
        call.set("bx", BIOS.configuration);
        return call.result(0), true;
      default:
        return false;
    }
  }

  /** Answers INT 1Ah. False for a function that there is not. */
  answerClock(call: BiosCall): boolean {
    const now = new Date(this.#date.getTime() + this.elapsed / 1e6);
    const bcd = (value: number) => Math.floor(value / 10) << 4 | value % 10;
    switch (call.ah) {
      case 0x00: {
        const seconds = this.elapsed / NANOSECONDS % SECONDS_PER_DAY;
        const ticks = Math.floor(seconds * TICKS);
        call.set("cx", ticks >>> 16);
        call.set("dx", ticks & 0xffff);
        call.setLow("ax", 0);
        return true;
      }
      case 0x02:
        call.set("cx", bcd(now.getHours()) << 8 | bcd(now.getMinutes()));
        call.set("dx", bcd(now.getSeconds()) << 8);
        call.carry = false;
        return true;
      case 0x04: {
        const year = now.getFullYear();
        call.set("cx", bcd(Math.floor(year / 100)) << 8 | bcd(year % 100));
        call.set("dx", bcd(now.getMonth() + 1) << 8 | bcd(now.getDate()));
        call.carry = false;
        return true;
      }
      default:
        return false;
    }
  }

  #wait(microseconds: number): void {
    const { timers } = this.#board;
    const end = timers.now + microseconds * MICROSECONDS;
    using _end = timers.at(end, () => {});
    while (timers.now < end) timers.passToNext(LOOK_MILLISECONDS);
  }

  /** Memory as the machine has it, with what a PC's BIOS keeps for itself. */
  get #map(): MemoryMapEntry[] {
    return memoryMap({ ram: this.#board.ram, reserved: RESERVED });
  }

  /** KiB above 1 MiB, up to the first hole. */
  get #extendedMemory(): number {
    return conventionalMemory({ ram: this.#board.ram }).upper;
  }

  #memoryMap(call: BiosCall): boolean {
    const { hasNoE820, shortE820 } = this.#quirks;
    if (hasNoE820) return false;
    const map = this.#map;
    const index = call.wide("bx");
    const room = call.wide("cx");
    const entry = map[index];
    if (call.wide("dx") !== SIGNATURE || room < ENTRY.short || entry === undefined) {
      return call.result(UNSUPPORTED), true;
    }
    const size = shortE820 || room < ENTRY.long ? ENTRY.short : ENTRY.long;
    const view = new DataView(new ArrayBuffer(size));
    view.setBigUint64(0, BigInt(entry.base), true);
    view.setBigUint64(8, BigInt(entry.length), true);
    view.setUint32(16, entry.type, true);
    if (size === ENTRY.long) view.setUint32(20, 1, true);
    this.#board.memory.write(call.address("es", call.get("di")), new Uint8Array(view.buffer));
    call.setWide("ax", SIGNATURE);
    call.setWide("cx", size);
    call.setWide("bx", index + 1 < map.length ? index + 1 : 0);
    call.carry = false;
    return true;
  }

  #extended(call: BiosCall): boolean {
    const memory = this.#extendedMemory;
    const below = Math.min(memory, HOLE_END);
    const above = Math.max(0, memory - HOLE_END) / UNIT;
    call.set("ax", below);
    call.set("bx", above);
    call.set("cx", below);
    call.set("dx", above);
    call.carry = false;
    return true;
  }

  #move(call: BiosCall): boolean {
    const { memory } = this.#board;
    const words = call.get("cx");
    const table = memory.read(call.address("es", call.get("si")), MOVE.size);
    const baseAt = (offset: number) =>
      (table[offset] | table[offset + 1] << 8 | table[offset + 2] << 16) +
      table[offset + 5] * 0x100_0000;
    if (words > MOVE.most) return call.result(1), true;
    memory.write(baseAt(MOVE.DESTINATION), memory.read(baseAt(MOVE.SOURCE), words * 2));
    return call.result(0), true;
  }
}
