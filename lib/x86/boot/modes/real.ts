import { cr0Flags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import type { CpuState } from "../cpu_state.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { type FarPointer, realModeFaultStubs, realModeFaultVectors } from "./fault_catcher.ts";
import { hex } from "../../hex.ts";
import { REAL_MODE } from "../../layout.ts";
import { checkWrites, type MemoryWrite } from "../../placement.ts";
import { type Segment, SEGMENT_TYPE } from "../../registers/segment.ts";
import { EXCEPTION_VECTORS } from "../../exceptions/exceptions.ts";
import { gateVector } from "./interrupt_table.ts";
import { segment16, specialRegisters, unusableSegment } from "./common.ts";

/** What a real-mode boot state can be told (Intel SDM Vol. 3B, 20.1). All of it has defaults. */
export interface RealLayout {
  /** Bytes of memory from address 0 on: bounds the default stack. Default 1 MiB. */
  memorySize?: number;
  /**
   * Physical address of the first instruction, where `cs` and `ip` are not given. Default 0x500. Below
   * 64 KiB CS is 0; above, CS has the address's upper bits and IP its low 16, so that labels assembled for
   * that origin stay right in their low 16 bits.
   */
  entry?: number;
  /** CS selector; the code segment's base is 16 times that. With it `ip` counts, and `entry` does not. */
  cs?: number;
  /** IP, where `cs` is given. Default 0. */
  ip?: number;
  /** DS selector. Default 0. */
  ds?: number;
  /** ES selector. Default 0. */
  es?: number;
  /** FS selector. Default 0. */
  fs?: number;
  /** GS selector. Default 0. */
  gs?: number;
  /** SS selector. Default 0. */
  ss?: number;
  /** SP. Default 0x7c00, or the end of the memory where that is lower. */
  sp?: number;
  /**
   * Handlers by vector: physical addresses. Each gets its far pointer in the interrupt vector table, in the code
   * segment of the start where that reaches it. The other vectors are not written.
   */
  gates?: Readonly<Record<number, number>>;
  /**
   * Whether the vectors that `gates` leaves open report what comes through them, all 256: their entries of the vector
   * table lead to stubs at 0x4f0–0x4ff, which write to port 0xbe. What the guest itself does with that port is an exit
   * like any other. Entries that the guest sets are its own, and so are those from 32 on that it is loaded over. A guest
   * that loads another table (`lidt`) has its faults to itself from there on. Default false.
   */
  catchFaults?: boolean;
}

const WORD_BITS = 16;
const WORD_MAX = 0xffff;
const SEGMENT_LIMIT = 0xffff;
const PARAGRAPH = 16;

/** Bytes of an entry of the interrupt vector table (Intel SDM Vol. 3B, 20.1.4). */
const FAR_POINTER_SIZE = 4;

/**
 * The state of a CPU that starts in real mode: CR0 has ET and NE (which VMX fixes to 1), paging and
 * protection off, every segment 64 KiB long with base 16 × selector, IDTR on the vector table at 0. Nothing is
 * written to memory but what `gates` and `catchFaults` ask for (Intel SDM Vol. 3A, 9.1 and 20.1).
 *
 * @param layout What differs from the defaults: selectors and offsets of 16 bits.
 * @throws {RangeError} When a selector, IP or SP has more than 16 bits, or real mode cannot reach `entry` or a handler.
 * @example
 * ```ts
 * import { realMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, specialRegisters } = realMode({ cs: 0x7c0, ip: 0x10 });
 * assertEquals(specialRegisters.cs.base, 0x7c00n);
 * assertEquals(registers.rip, 0x10n);
 * ```
 */
export function realMode(layout: RealLayout = {}): CpuState {
  const { memorySize = REAL_MODE.memorySize, ds = 0, es = 0, fs = 0, gs = 0, ss = 0 } = layout;
  const { cs, ip } = codeAddress(layout);
  const sp = word("sp", layout.sp ?? Math.min(memorySize, REAL_MODE.stackTop));
  const data = SEGMENT_TYPE.readWriteDataAccessed;
  return {
    mode: "real",
    registers: { rip: BigInt(ip), rsp: BigInt(sp), rflags: RFLAGS_ALWAYS_SET },
    specialRegisters: specialRegisters({
      cs: realSegment("cs", cs, SEGMENT_TYPE.executeReadCodeAccessed),
      ds: realSegment("ds", ds, data),
      es: realSegment("es", es, data),
      fs: realSegment("fs", fs, data),
      gs: realSegment("gs", gs, data),
      ss: realSegment("ss", ss, data),
      tr: { ...realSegment("tr", 0, SEGMENT_TYPE.busyTss), s: 0 },
      ldt: unusableSegment(),
      gdt: { base: 0n, limit: SEGMENT_LIMIT },
      idt: {
        base: BigInt(REAL_MODE.interruptVectorTable),
        limit: REAL_MODE.interruptVectorTableLimit,
      },
    }, { cr0: flagsToValue(cr0Flags, { et: true, ne: true }) }),
    ...vectors(layout, memorySize, cs),
  };
}

function vectors(
  { gates = {}, catchFaults = false }: RealLayout,
  memorySize: number,
  cs: number,
): Pick<CpuState, "writes" | "faultCatcher"> {
  const given = Object.fromEntries(
    Object.entries(gates).map((
      [vector, handler],
    ) => [gateVector(vector), farPointer(vector, handler, cs)]),
  );
  if (!catchFaults) return { writes: checkWrites(vectorTable(given), memorySize) };
  const needed = { ...given };
  const others: Record<number, FarPointer> = {};
  for (const [key, pointer] of Object.entries(realModeFaultVectors())) {
    const vector = Number(key);
    if (vector in given) continue;
    if (vector < EXCEPTION_VECTORS) needed[vector] = pointer;
    else others[vector] = pointer;
  }
  const writes = [
    ...vectorTable(needed),
    ...vectorTable(others).map((write) => ({ ...write, isReplaceable: true })),
    realModeFaultStubs(),
  ];
  return {
    writes: checkWrites(writes, memorySize),
    faultCatcher: { format: "real", stubs: REAL_MODE.faultStubs },
  };
}

/** The pointer to a handler: in the segment that code starts in, where that reaches it. */
function farPointer(vector: string, handler: number, cs: number): FarPointer {
  if (!Number.isInteger(handler) || handler < 0 || handler >= REAL_MODE.end) {
    throw new RangeError(
      `Cannot make a gate for vector ${vector} to ${
        Number.isInteger(handler) ? hex(handler) : handler
      }: the last address that real mode reaches is ${hex(REAL_MODE.end - 1)}`,
    );
  }
  const offset = handler - cs * PARAGRAPH;
  if (offset >= 0 && offset <= WORD_MAX) return { selector: cs, offset };
  const start = codeAddress({ entry: handler });
  return { selector: start.cs, offset: start.ip };
}

/** The entries of the interrupt vector table that have a pointer: those in a row are one write. */
function vectorTable(pointers: Readonly<Record<number, FarPointer>>): MemoryWrite[] {
  const runs: { first: number; pointers: FarPointer[] }[] = [];
  for (const [key, pointer] of Object.entries(pointers)) {
    const vector = Number(key);
    const last = runs.at(-1);
    if (last !== undefined && last.first + last.pointers.length === vector) {
      last.pointers.push(pointer);
    } else runs.push({ first: vector, pointers: [pointer] });
  }
  return runs.map(({ first, pointers }) => ({
    gpa: REAL_MODE.interruptVectorTable + first * FAR_POINTER_SIZE,
    bytes: new Uint8Array(
      Uint16Array.from(pointers.flatMap(({ offset, selector }) => [offset, selector])).buffer,
    ),
    what: "interrupt vectors",
  }));
}

function codeAddress({ cs, ip, entry = REAL_MODE.code }: RealLayout): { cs: number; ip: number } {
  if (cs !== undefined) return { cs: word("cs", cs), ip: word("ip", ip ?? 0) };
  if (ip !== undefined) return { cs: 0, ip: word("ip", ip) };
  if (!Number.isInteger(entry) || entry < 0 || entry >= REAL_MODE.end) {
    throw new RangeError(
      `Cannot start real mode at ${
        Number.isInteger(entry) ? hex(entry) : entry
      }: a selector has 16 bits, so the last address it reaches is ${
        hex(REAL_MODE.end - 1)
      }; load the code lower, or start in long mode`,
    );
  }
  const base = Math.min(entry - entry % (WORD_MAX + 1), WORD_MAX * PARAGRAPH);
  return { cs: base / PARAGRAPH, ip: entry - base };
}

function realSegment(name: string, selector: number, type: number): Segment {
  const base = BigInt(word(name, selector)) * BigInt(PARAGRAPH);
  return segment16({ base, limit: SEGMENT_LIMIT, selector, type });
}

function word(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= WORD_MAX) return value;
  throw new RangeError(
    `Cannot set ${name} as ${
      Number.isInteger(value) ? hex(value) : value
    }: in real mode it has ${WORD_BITS} bits; give 0 to ${hex(WORD_MAX)}`,
  );
}

/** What an unreal-mode boot state can be told: what real mode's can (Intel SDM Vol. 3A, 3.4.3 and 9.9.2). */
export type UnrealLayout = RealLayout;

const LIMIT = 0xffff_ffff;

/**
 * The state of a CPU that starts in unreal mode ("big real mode"): {@linkcode realMode}, but DS, ES, FS and GS have
 * limits of 4 GiB, as they stay when a program loads them in protected mode and goes back. Offsets of 32 bits
 * reach all that memory; CS and SS keep their 64 KiB.
 *
 * @param layout What differs from the defaults: selectors and offsets of 16 bits.
 * @throws {RangeError} As {@linkcode realMode} does.
 * @example
 * ```ts
 * import { unrealMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { ds, cs } = unrealMode({ ds: 0x100 }).specialRegisters;
 * assertEquals([ds.base, ds.limit, cs.limit], [0x1000n, 0xffff_ffff, 0xffff]);
 * ```
 */
export function unrealMode(layout: UnrealLayout = {}): CpuState {
  const state = realMode(layout);
  for (const name of ["ds", "es", "fs", "gs"] as const) {
    Object.assign(state.specialRegisters[name], { limit: LIMIT, g: 1 });
  }
  return { ...state, mode: "unreal" };
}
