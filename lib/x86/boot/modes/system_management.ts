import type { GeneralRegisters, SegmentName } from "../cpu_state.ts";
import { RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { hex } from "../../hex.ts";
import { SYSTEM_MANAGEMENT } from "../../layout.ts";
import { type Segment, SEGMENT_TYPE } from "../../registers/segment.ts";
import { segment16 } from "./common.ts";

/**
 * What the state that a system-management interrupt begins with can be told (Intel SDM Vol. 3C, 30.4 and 30.5; AMD APM
 * Vol. 2, 10.3).
 */
export interface SystemManagementLayout {
  /** SMBASE: a multiple of 32 KiB below 4 GiB. Default 0x30000, as after reset. */
  smbase?: number;
}

/**
 * The state in which the CPU enters the handler of a system-management interrupt (Intel SDM Vol. 3C, 30.5; AMD APM
 * Vol. 2, 10.3).
 */
export interface SystemManagementEntry {
  /** Physical address of the handler's first instruction: SMBASE + 0x8000. */
  handler: number;
  /** Physical address of the first byte of the area in which the CPU saves its state: SMBASE + 0xfe00. */
  saveArea: number;
  /** RIP and RFLAGS; all others keep what the interrupted program had. */
  registers: Pick<GeneralRegisters, "rip" | "rflags">;
  /** CS, with the base SMBASE, and the data segments; TR, LDTR, GDTR keep what they were. */
  segments: Record<Exclude<SegmentName, "tr" | "ldt">, Segment>;
  /** IDTR: no table. */
  idt: { base: bigint; limit: number };
  /** CR4: no extension is on. CR0 keeps all but PE, EM, TS and PG. */
  cr4: bigint;
  /** EFER: no long mode. */
  efer: bigint;
}

const LIMIT = 0xffff_ffff;
const SELECTOR_SHIFT = 4;
const SELECTOR_MASK = 0xffff;
const ALIGNMENT = 0x8000;

/**
 * The state in which a CPU enters system-management mode (Intel SDM Vol. 3C, 30.4.1 and 30.5; AMD APM Vol. 2,
 * 10.3.3): 16-bit code in CS with the base SMBASE, all segments 4 GiB long, protection and paging off. `RSM` leaves
 * it.
 *
 * @param layout What differs from the defaults; SMBASE is guest-physical.
 * @throws {RangeError} When SMBASE is no multiple of 32 KiB below 4 GiB.
 * @example
 * ```ts
 * import { systemManagementEntry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { handler, segments } = systemManagementEntry();
 * assertEquals([handler, segments.cs.base, segments.ds.limit], [0x3_8000, 0x3_0000n, 0xffff_ffff]);
 * ```
 */
export function systemManagementEntry(
  { smbase = SYSTEM_MANAGEMENT.base }: SystemManagementLayout = {},
): SystemManagementEntry {
  if (!Number.isInteger(smbase) || smbase < 0 || smbase > LIMIT || smbase % ALIGNMENT !== 0) {
    throw new RangeError(
      `Cannot set SMBASE as ${
        Number.isInteger(smbase) ? hex(smbase) : smbase
      }: it is not a multiple of ${hex(ALIGNMENT)} below 4 GiB`,
    );
  }
  const data = () => segment(0, 0);
  return {
    handler: smbase + SYSTEM_MANAGEMENT.entry,
    saveArea: smbase + SYSTEM_MANAGEMENT.saveArea,
    registers: { rip: BigInt(SYSTEM_MANAGEMENT.entry), rflags: RFLAGS_ALWAYS_SET },
    segments: {
      cs: segment((smbase >> SELECTOR_SHIFT) & SELECTOR_MASK, smbase),
      ds: data(),
      es: data(),
      fs: data(),
      gs: data(),
      ss: data(),
    },
    idt: { base: 0n, limit: 0 },
    cr4: 0n,
    efer: 0n,
  };
}

function segment(selector: number, base: number): Segment {
  const type = SEGMENT_TYPE.readWriteDataAccessed;
  return segment16({ base: BigInt(base), limit: LIMIT, selector, type, g: 1 });
}
