import type { CodeBits, SpecialRegisters } from "../boot/cpu_state.ts";
import { hex, hexBytes } from "../hex.ts";
import { pagingModeOf } from "../paging/page_levels.ts";
import { type PageWalk, walkPageTables } from "../paging/page_walk.ts";
import { cr0Flags, cr4Flags, eferFlags, rflagsFlags } from "../registers/flag_tables.ts";
import type { Cr0Flag, Cr4Flag, EferFlag, RflagsFlag } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";
import { DESCRIPTOR_SIZE, descriptorToSegment, type Segment } from "../registers/segment.ts";
import type { FoundDescriptor, Incident, NameOfAddress } from "./incident.ts";
import type { SegmentRegister } from "./operands.ts";

/** The modes by which rules differ (Intel SDM Vol. 3A, 2.2). */
export type RuleMode = "real" | "virtual-8086" | "protected" | "compatibility" | "64-bit";

/** Bits of a selector (Intel SDM Vol. 3A, 3.4.2). */
export const RPL = 0x3;
const IN_LDT = 0x4;
const INDEX_SHIFT = 3;

const QUADWORD = 8;
const PAGE = 4096;
const BYTE_BITS = 8n;

/** A place in a file of assembly, as names have it: in those of compilers nobody knows where instructions begin. */
const ASSEMBLED = /\.(asm|nasm|inc|ts):\d+\)?$/i;

/** What a selector leads to. */
export type SelectorLookup =
  | { readonly found: "null" }
  | { readonly found: "no table"; readonly why: string }
  | { readonly found: "beyond limit"; readonly why: string; readonly linear: bigint }
  | { readonly found: "not mapped"; readonly linear: bigint; readonly why: string }
  | {
    readonly found: "descriptor";
    readonly descriptor: FoundDescriptor & { readonly segment: Segment };
  };

/** An incident with what rules ask of it: memory by linear addresses, flags, descriptors. */
export class GuestView {
  readonly incident: Incident;
  readonly #names: NameOfAddress;

  /** The view of `incident`, whose addresses `names` names. */
  constructor(incident: Incident, names: NameOfAddress) {
    this.incident = incident;
    this.#names = names;
  }

  /** Segments, descriptor tables and control registers. */
  get special(): SpecialRegisters {
    return this.incident.specialRegisters;
  }

  /** The mode that the CPU is in. */
  get mode(): RuleMode {
    if (!this.cr0("pe")) return "real";
    if (this.efer("lma")) return this.special.cs.l ? "64-bit" : "compatibility";
    return this.rflags("vm") ? "virtual-8086" : "protected";
  }

  /** Whether selectors are numbers of paragraphs: real and virtual-8086 mode. */
  get hasRealSegments(): boolean {
    return this.mode === "real" || this.mode === "virtual-8086";
  }

  /** The current privilege level. */
  get cpl(): number {
    if (this.mode === "real") return 0;
    return this.mode === "virtual-8086" ? 3 : this.special.ss.dpl & RPL;
  }

  /** The width of the code. */
  get bits(): CodeBits {
    return this.incident.instruction.bits;
  }

  /** A flag of CR0. */
  cr0(flag: Cr0Flag): boolean {
    return getFlag(cr0Flags, flag, this.special.cr0) === true;
  }

  /** A flag of CR4. */
  cr4(flag: Cr4Flag): boolean {
    return getFlag(cr4Flags, flag, this.special.cr4) === true;
  }

  /** A flag of EFER. */
  efer(flag: EferFlag): boolean {
    return getFlag(eferFlags, flag, this.special.efer) === true;
  }

  /** A flag of RFLAGS that has one bit. */
  rflags(flag: RflagsFlag): boolean {
    return getFlag(rflagsFlags, flag, this.incident.registers.rflags) === true;
  }

  /** An address in words: with its name, where it has one. */
  place(linear: bigint): string {
    const name = this.name(linear);
    if (name === undefined) return hex(linear);
    return `${hex(linear)}${name.startsWith("(") ? " " : ", "}${name}`;
  }

  /** The name of an address; never throws. */
  name(linear: bigint): string | undefined {
    try {
      return this.#names(linear);
    } catch {
      return undefined;
    }
  }

  /** Whether no instruction of the guest begins at an address: it has no name, or lies within a source line. */
  isNoInstruction(linear: bigint): boolean {
    const { source } = this.incident;
    const name = this.name(linear);
    if (name === undefined) return true;
    return source !== undefined && ASSEMBLED.test(name) && source(linear) === undefined;
  }

  /** The linear address of an offset in a segment (Intel SDM Vol. 3A, 3.4 and 3.4.4). */
  linearOf(segment: SegmentRegister, offset: bigint): bigint {
    if (this.mode === "64-bit") {
      const base = segment === "fs" || segment === "gs" ? this.special[segment].base : 0n;
      return BigInt.asUintN(64, base + offset);
    }
    return BigInt.asUintN(32, this.special[segment].base + offset);
  }

  /** The walk for a linear address; undefined while paging is off. */
  walk(
    linear: bigint,
    special: PagingState = this.special,
    read = this.quadword,
  ): PageWalk | undefined {
    if (pagingModeOf(special) === undefined) return undefined;
    const { cr3, cr4, efer } = special;
    const { physicalAddressBits } = this.incident;
    return walkPageTables({
      cr3,
      cr4,
      efer,
      linear,
      read,
      ...physicalAddressBits === undefined ? {} : { physicalAddressBits },
    });
  }

  /** The guest-physical address of a linear one; undefined where nothing is mapped. */
  physical(linear: bigint, special: PagingState = this.special): number | undefined {
    const walk = this.walk(linear, special);
    if (walk === undefined) return Number(BigInt.asUintN(32, linear));
    return "physical" in walk.result ? walk.result.physical : undefined;
  }

  /** The 8 bytes at a guest-physical address, as page walks read them. */
  readonly quadword = (gpa: number): bigint | undefined => {
    const bytes = this.readPhysical(gpa, QUADWORD);
    return bytes === undefined ? undefined : littleEndian(bytes);
  };

  /** Guest-physical memory; never throws. */
  readPhysical(gpa: number, size: number): Uint8Array | undefined {
    try {
      const bytes = this.incident.read(gpa, size);
      return bytes?.length === size ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  /** Memory at a linear address; undefined where not all of it is mapped. */
  read(linear: bigint, size: number): Uint8Array | undefined {
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size;) {
      const address = linear + BigInt(done);
      const length = Math.min(size - done, PAGE - Number(address & BigInt(PAGE - 1)));
      const physical = this.physical(address);
      const piece = physical === undefined ? undefined : this.readPhysical(physical, length);
      if (piece === undefined) return undefined;
      bytes.set(piece, done);
      done += length;
    }
    return bytes;
  }

  /** A number of so many bytes at a linear address. */
  number(linear: bigint, size: number): bigint | undefined {
    const bytes = this.read(linear, size);
    return bytes === undefined ? undefined : littleEndian(bytes);
  }

  /** The descriptor that a selector names (Intel SDM Vol. 3A, 3.4.2 and 3.5.1). */
  lookUp(selector: number): SelectorLookup {
    const table = selector & IN_LDT ? "LDT" : "GDT";
    if ((selector & ~RPL) === 0) return { found: "null" };
    const { gdt, ldt } = this.special;
    if (table === "LDT" && (ldt.unusable || !ldt.present)) {
      return { found: "no table", why: "LDTR holds no table (no lldt)" };
    }
    const { base, limit } = table === "LDT" ? ldt : gdt;
    const index = selector >> INDEX_SHIFT;
    const offset = index * DESCRIPTOR_SIZE;
    const linear = base + BigInt(offset);
    if (offset + DESCRIPTOR_SIZE - 1 > limit) {
      return {
        found: "beyond limit",
        linear,
        why: `the ${table}'s limit is ${hex(limit, 2)}: entry ${index} (bytes ${
          hex(offset, 2)
        } to ${hex(offset + DESCRIPTOR_SIZE - 1, 2)}) lies outside`,
      };
    }
    const bytes = this.read(linear, DESCRIPTOR_SIZE);
    if (bytes === undefined) {
      return {
        found: "not mapped",
        linear,
        why: `entry ${index} of the ${table}, at ${
          this.place(linear)
        }, cannot be read: nothing is mapped there`,
      };
    }
    const segment = descriptorToSegment(bytes, selector);
    return { found: "descriptor", descriptor: { table, index, linear, bytes, segment } };
  }

  /** An entry of a descriptor table in words: its place, its bytes and what they are. */
  describeEntry({ table, index, linear, bytes, segment }: FoundDescriptor): string {
    const meaning = segment === undefined ? "" : `: ${describeSegment(segment, bytes)}`;
    return `${table}[${index}] at ${this.place(linear)} is ${hexBytes(bytes)}${meaning}`;
  }
}

/** What decides how linear addresses are translated. */
export type PagingState = Pick<SpecialRegisters, "cr0" | "cr3" | "cr4" | "efer">;

/** Bytes as the number that they are in memory. */
export function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << BYTE_BITS) | BigInt(byte), 0n);
}

/** The types of system segments (Intel SDM Vol. 3A, table 3-2). */
export const SYSTEM_TYPES: Readonly<Record<number, string>> = {
  1: "available 16-bit TSS",
  2: "LDT",
  3: "busy 16-bit TSS",
  4: "16-bit call gate",
  5: "task gate",
  6: "16-bit interrupt gate",
  7: "16-bit trap gate",
  9: "available TSS",
  11: "busy TSS",
  12: "call gate",
  14: "interrupt gate",
  15: "trap gate",
};

/** Bits of the type of code and data (Intel SDM Vol. 3A, 3.4.5.1). */
export const TYPE = { code: 0x8, conforming: 0x4, expandDown: 0x4, readable: 0x2, writable: 0x2 };

/** Whether it is a code segment. */
export function isCode({ s, type }: Segment): boolean {
  return s === 1 && (type & TYPE.code) !== 0;
}

/** Whether it is a data segment that can be written to. */
export function isWritableData({ s, type }: Segment): boolean {
  return s === 1 && (type & TYPE.code) === 0 && (type & TYPE.writable) !== 0;
}

/** A descriptor's segment in words. */
export function describeSegment(segment: Segment, bytes?: Uint8Array): string {
  if (bytes?.every((byte) => byte === 0)) return "all zeros";
  const { base, limit, dpl, present } = segment;
  return [
    kindOf(segment),
    `base ${hex(base)}`,
    `limit ${hex(limit, 2)}`,
    ...dpl === 0 ? [] : [`DPL ${dpl}`],
    present ? "present" : "not present (P = 0)",
  ].join(", ");
}

/** What kind of segment it is: `32-bit code`, `data, read-only`, `busy TSS`. */
export function kindOf(segment: Segment): string {
  const { s, type, l, db } = segment;
  if (s === 0) return SYSTEM_TYPES[type] ?? `reserved system type ${type}`;
  if (isCode(segment)) {
    const width = l
      ? (db ? "code with L = 1 and D = 1" : "64-bit code")
      : `${db ? 32 : 16}-bit code`;
    return type & TYPE.readable ? width : `${width}, execute-only`;
  }
  const direction = type & TYPE.expandDown ? "expand-down data" : "data";
  return type & TYPE.writable ? direction : `${direction}, read-only`;
}
