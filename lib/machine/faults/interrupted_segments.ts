import {
  DESCRIPTOR_SIZE,
  descriptorToSegment,
  type Segment,
  SEGMENT_TYPE,
} from "../../x86/segment.ts";
import type { ExceptionFrame, FrameFormat } from "../../x86/faults/exception_frame.ts";
import { rflagsFlags } from "../../x86/flag_tables.ts";
import { getFlag } from "../../x86/flags.ts";
import { segment16, unusableSegment } from "../../x86/modes/common.ts";
import type { LinearMemory } from "../memory/linear_memory.ts";
import type { Registers, RegisterValues } from "../registers/registers.ts";

const PARAGRAPH = 16n;
const REAL_MODE_LIMIT = 0xffff;
const PRIVILEGE = 3;
const IN_LDT = 4;
const OFFSET = 0xfff8;
/** A selector of 0 to 3 names no segment. */
const LAST_NULL = 3;
/** In the type of code and data: whether it is code, and whether it has been used. */
const CODE = 0x8;
const ACCESSED = 0x1;

/** Where a CPU's segments, and the tables that describe them, are read. */
interface SegmentSource {
  readonly registers: Registers;
  readonly linear: LinearMemory;
}

/**
 * The segment registers of the program that a frame is of, hidden parts and all, as a return from the handler
 * would load them.
 */
export function interruptedSegments(
  source: SegmentSource,
  frame: ExceptionFrame,
  format: FrameFormat,
): RegisterValues {
  const { cs, ss, data, rflags } = frame;
  if (format === "real") return { cs: { selector: cs, base: BigInt(cs) * PARAGRAPH } };
  if (format === "32-bit" && getFlag(rflagsFlags, "vm", rflags)) {
    const { es, ds, fs, gs } = data!;
    return {
      cs: virtual8086Segment(cs),
      ss: virtual8086Segment(ss!),
      es: virtual8086Segment(es),
      ds: virtual8086Segment(ds),
      fs: virtual8086Segment(fs),
      gs: virtual8086Segment(gs),
    };
  }
  return {
    cs: loaded(source, cs) ?? { selector: cs },
    ...ss === undefined ? {} : {
      ss: ss > LAST_NULL
        ? loaded(source, ss) ?? { selector: ss, dpl: cs & PRIVILEGE }
        : { ...unusableSegment(), selector: ss, dpl: cs & PRIVILEGE },
    },
  };
}

/** Whether a value is the selector of a code segment in the guest's tables. */
export function isCodeSelector(source: SegmentSource, value: bigint): boolean {
  const segment = loaded(source, Number(BigInt.asUintN(32, value)));
  return segment !== undefined && segment.s === 1 && (segment.type & CODE) !== 0;
}

/** What a segment register has after a selector was loaded; undefined where its table has no such segment. */
function loaded({ registers, linear }: SegmentSource, selector: number): Segment | undefined {
  const { base, limit } = selector & IN_LDT ? registers.ldt : registers.gdt;
  const offset = selector & OFFSET;
  const isNone = selector > OFFSET + PRIVILEGE + IN_LDT || selector <= LAST_NULL;
  if (isNone || offset + DESCRIPTOR_SIZE - 1 > limit) return undefined;
  try {
    const descriptor = linear.read(base + BigInt(offset), DESCRIPTOR_SIZE);
    const segment = descriptorToSegment(descriptor, selector);
    return segment.present ? { ...segment, type: segment.type | ACCESSED } : undefined;
  } catch {
    return undefined;
  }
}

function virtual8086Segment(selector: number): Segment {
  const base = BigInt(selector) * PARAGRAPH;
  const type = SEGMENT_TYPE.readWriteDataAccessed;
  return segment16({ base, limit: REAL_MODE_LIMIT, selector, type, dpl: PRIVILEGE });
}
