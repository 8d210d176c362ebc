import { hex } from "../../hex.ts";
import { BIOS, PC_MEMORY } from "../../layout.ts";
import type { MemoryWrite, Placement } from "../../placement.ts";

/** A range of guest-physical memory. */
export interface MemoryRange {
  /** Guest-physical address of the first byte. */
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
}

/** The types of memory, as BIOSes number them (ACPI 6.5, table 15.4); boot loaders hand the same numbers on. */
export const MEMORY_TYPE = {
  /** RAM that the operating system may use. */
  available: 1,
  /** Not to be used. */
  reserved: 2,
} as const;

/** An entry of the memory map that a kernel is given. */
export interface MemoryMapEntry {
  /** Guest-physical address of the first byte. */
  readonly base: number;
  /** Bytes. */
  readonly length: number;
  /** One of {@linkcode MEMORY_TYPE}. */
  readonly type: number;
}

/** A machine's memory, as far as a boot protocol has to know it. */
export interface MachineMemory {
  /** RAM, by address; ranges do not overlap. */
  readonly ram: readonly MemoryRange[];
  /** What a kernel must leave alone: read-only memory, and pages that KVM takes. */
  readonly reserved?: readonly MemoryRange[];
}

/**
 * The memory map of a machine, by address. RAM at 0x9fc00–0xfffff is left out: a PC has the BIOS's extended data, video
 * memory, adapters and firmware there.
 *
 * @example
 * ```ts
 * import { memoryMap } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(memoryMap({ ram: [{ gpa: 0, size: 0x20_0000 }] }), [
 *   { base: 0, length: 0x9_fc00, type: 1 },
 *   { base: 0x10_0000, length: 0x10_0000, type: 1 },
 * ]);
 * ```
 */
export function memoryMap({ ram, reserved = [] }: MachineMemory): MemoryMapEntry[] {
  const entry = (type: number) => ({ gpa, size }: MemoryRange) => ({
    base: gpa,
    length: size,
    type,
  });
  return [
    ...usable(ram).map(entry(MEMORY_TYPE.available)),
    ...reserved.map(entry(MEMORY_TYPE.reserved)),
  ].sort((a, b) => a.base - b.base);
}

/** RAM below and above what a PC has for other things; ranges that meet are one. */
function usable(ram: readonly MemoryRange[]): MemoryRange[] {
  const { high } = PC_MEMORY;
  const joined: MemoryRange[] = [];
  for (const { gpa, size } of [...ram].sort((a, b) => a.gpa - b.gpa)) {
    const last = joined.at(-1);
    if (last === undefined || last.gpa + last.size < gpa) joined.push({ gpa, size });
    else joined[joined.length - 1] = { gpa: last.gpa, size: gpa + size - last.gpa };
  }
  return joined.flatMap(({ gpa, size }) => {
    const end = gpa + size;
    return [
      { gpa, size: Math.min(end, BIOS.conventionalEnd) - gpa },
      { gpa: Math.max(gpa, high), size: end - Math.max(gpa, high) },
    ].filter((part) => part.size > 0);
  });
}

/**
 * How much memory a BIOS says that there is below 640 KiB and from 1 MiB up to the first hole, in KiB.
 *
 * @param memory The machine's.
 */
export function conventionalMemory(memory: MachineMemory): { lower: number; upper: number } {
  const map = usable(memory.ram);
  const from = (base: number) => map.find(({ gpa }) => gpa === base)?.size ?? 0;
  return { lower: Math.floor(from(0) / KIB), upper: Math.floor(from(PC_MEMORY.high) / KIB) };
}

const KIB = 1024;
const PAGE = 4096;
const FOUR_GIB = 2 ** 32;

/** Where something may be placed. */
export interface Room {
  /** What it must be a multiple of. Default 8. */
  readonly align?: number;
  /** The lowest address. Default the first behind the BIOS data area. */
  readonly from?: number;
  /** The address after the last. Default 4 GiB. */
  readonly below?: number;
  /** Whether the highest place is taken. Default the lowest. */
  readonly highest?: boolean;
}

/** Finds places for what a boot protocol puts into memory beside the kernel. */
export class BootMemory {
  /** What is in memory now, beside the kernel: what a BIOS leaves, and what was put there. */
  readonly writes: MemoryWrite[] = [];
  readonly #ram: readonly MemoryRange[];
  readonly #taken: MemoryRange[];

  /**
   * The RAM of a machine.
   *
   * @param taken Where the kernel lies.
   */
  constructor(memory: MachineMemory, taken: readonly MemoryRange[]) {
    this.#ram = usable(memory.ram);
    this.#taken = [...taken];
    this.writes.push(...biosData(memory));
  }

  /**
   * Finds a place, and takes it.
   *
   * @param what What is to lie there, for the message.
   * @throws {RangeError} When there is none.
   */
  take(what: string, size: number, room: Room = {}): number {
    const { align = 8, from = PC_MEMORY.free, below = FOUR_GIB, highest = false } = room;
    const up = (address: number) => Math.ceil(address / align) * align;
    const down = (address: number) => Math.floor(address / align) * align;
    const places = this.#ram.flatMap(({ gpa, size: length }) => {
      const start = Math.max(gpa, from);
      const end = Math.min(gpa + length, below);
      return [up(start), down(end - size)]
        .concat(this.#taken.flatMap((each) => [up(each.gpa + each.size), down(each.gpa - size)]))
        .filter((place) => place >= start && place + size <= end && this.#isFree(place, size));
    });
    if (places.length === 0) {
      throw new RangeError(
        `Cannot place the ${what}: ${size} bytes of RAM that nothing else takes are not to be had at ${
          hex(from)
        }–${hex(below - 1)}. Give more with the \`memory\` option.`,
      );
    }
    const gpa = highest ? Math.max(...places) : Math.min(...places);
    this.#taken.push({ gpa, size });
    return gpa;
  }

  /** Finds a place for bytes, and puts them there. */
  put(what: string, bytes: Uint8Array<ArrayBuffer>, room: Room = {}): number {
    const gpa = this.take(what, bytes.length, room);
    this.writes.push({ gpa, bytes, what });
    return gpa;
  }

  /** A file behind the kernel, on a page of its own. */
  putFile(what: string, bytes: Uint8Array<ArrayBuffer>): number {
    const end = Math.max(PC_MEMORY.high, ...this.#taken.map(({ gpa, size }) => gpa + size));
    const hasRoom = this.#ram.some(({ gpa, size }) =>
      Math.max(gpa, end) + bytes.length + PAGE <= Math.min(gpa + size, FOUR_GIB)
    );
    return this.put(what, bytes, { align: PAGE, from: hasRoom ? end : PAGE });
  }

  #isFree(gpa: number, size: number): boolean {
    return !this.#taken.some((each) => gpa < each.gpa + each.size && each.gpa < gpa + size);
  }
}

/** Where boot loaders keep what they tell a kernel: at the end of conventional memory, where there is room. */
export function informationRoom(memory: MachineMemory): Room {
  const { ram } = memory;
  const isLow = ram.some(({ gpa, size }) => gpa === 0 && size >= 2 * PAGE);
  return isLow ? { below: BIOS.conventionalEnd, highest: true } : { highest: true };
}

/**
 * What loaders of a PC leave where a BIOS has left it, and kernels look: the segment of its extended data, and how much
 * memory there is below that.
 */
function biosData(memory: MachineMemory): MemoryWrite[] {
  const { lower } = conventionalMemory(memory);
  if (lower * KIB !== BIOS.conventionalEnd) return [];
  const word = (value: number) => new Uint8Array(Uint16Array.of(value).buffer);
  const { extendedDataSegment, memorySize } = BIOS_DATA;
  const segment = BIOS.conventionalEnd / PARAGRAPH;
  return [
    { gpa: extendedDataSegment, bytes: word(segment), what: "BIOS data" },
    { gpa: memorySize, bytes: word(lower), what: "BIOS data" },
  ];
}

/** Words of the BIOS data area (IBM PC/AT Technical Reference, "BIOS Data Area"). */
const BIOS_DATA = {
  extendedDataSegment: BIOS.dataArea + 0x0e,
  memorySize: BIOS.dataArea + 0x13,
} as const;
const PARAGRAPH = 16;

/** Text as kernels read it, with its NUL. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** A file that a kernel gets with it. */
export interface KernelModule {
  /** Its content. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its command line, often its name. */
  readonly commandLine: string;
}

/** What a boot protocol needs to know of a kernel, and of its machine. */
export interface KernelLayout extends MachineMemory {
  /** Physical address of the first instruction. */
  readonly entry: number;
  /** Where it lies. */
  readonly kernel: readonly Placement[];
  /** Its command line. Default empty. */
  readonly commandLine?: string;
  /** Files for it. Default none. */
  readonly modules?: readonly KernelModule[];
  /** Physical address of the ACPI RSDP. Default none is named. */
  readonly rsdp?: number;
}
