import type { DescriptorTable, MemoryWrite, SegmentName } from "../cpu_state.ts";
import { LONG_MODE, LONG_MODE_SELECTOR } from "../layout.ts";
import {
  DESCRIPTOR_SIZE,
  type Segment,
  SEGMENT_TYPE,
  segmentToDescriptor,
  SYSTEM_DESCRIPTOR_SIZE,
} from "../segment.ts";
import { unusableSegment } from "./common.ts";

/** Where the tables go; see the fields of the same names in `LongLayout`. */
export interface DescriptorTableAddresses {
  /** Address of the GDT, or false for none. */
  gdt?: number | false;
  /** Address of the IDT, or false for none. */
  idt?: number | false;
  /** Address of the TSS, or false for none. */
  tss?: number | false;
}

/** Segment and table registers of long mode, and the memory that they stand for. */
export interface DescriptorTables {
  /** What to load. */
  registers: Record<SegmentName, Segment> & Record<"gdt" | "idt", DescriptorTable>;
  /** The GDT, TSS and IDT, as far as there are any. */
  writes: MemoryWrite[];
}

const FLAT_LIMIT = 0xffff_ffff;
const GATES = 256;
const GATE_SIZE = 16;
const TSS_SIZE = 104;
/** Where a 64-bit TSS keeps the offset of its I/O permission map (Intel SDM Vol. 3A, 7.7). */
const TSS_IO_MAP_BASE = 102;

/**
 * GDT (null, code, data, TSS), TSS (no stacks, no I/O permission map) and IDT (256 absent gates) for 64-bit
 * mode at CPL 0, with the registers that name them.
 *
 * What is left out is not written and has limit 0. Segments are loaded all the same: the CPU looks into the
 * GDT only when a register is loaded anew. TR too, since VMX enters no guest without a busy TSS there.
 */
export function descriptorTables(addresses: DescriptorTableAddresses): DescriptorTables {
  const {
    gdt = LONG_MODE.globalDescriptorTable,
    idt = LONG_MODE.interruptDescriptorTable,
    tss = LONG_MODE.taskStateSegment,
  } = addresses;
  const code = flatSegment(LONG_MODE_SELECTOR.code, SEGMENT_TYPE.executeReadCodeAccessed);
  const data = flatSegment(LONG_MODE_SELECTOR.data, SEGMENT_TYPE.readWriteDataAccessed);
  const task = taskSegment(tss);
  const writes: MemoryWrite[] = [];
  if (gdt !== false) {
    writes.push({
      gpa: gdt,
      bytes: gdtBytes(code, data, tss === false ? [] : [task]),
      what: "GDT",
    });
  }
  if (tss !== false) writes.push({ gpa: tss, bytes: tssBytes(), what: "TSS" });
  if (idt !== false) {
    writes.push({ gpa: idt, bytes: new Uint8Array(GATES * GATE_SIZE), what: "IDT" });
  }
  return {
    registers: {
      cs: code,
      ds: { ...data },
      es: { ...data },
      fs: { ...data },
      gs: { ...data },
      ss: data,
      tr: task,
      ldt: unusableSegment(),
      gdt: tableRegister(writes, "GDT"),
      idt: tableRegister(writes, "IDT"),
    },
    writes,
  };
}

function flatSegment(selector: number, type: number): Segment {
  const isCode = type === SEGMENT_TYPE.executeReadCodeAccessed;
  return {
    base: 0n,
    limit: FLAT_LIMIT,
    selector,
    type,
    present: 1,
    dpl: 0,
    db: isCode ? 0 : 1,
    s: 1,
    l: isCode ? 1 : 0,
    g: 1,
    avl: 0,
    unusable: 0,
  };
}

function taskSegment(tss: number | false): Segment {
  return {
    base: BigInt(tss || 0),
    limit: tss === false ? 0 : TSS_SIZE - 1,
    selector: LONG_MODE_SELECTOR.task,
    type: SEGMENT_TYPE.busyTss,
    present: 1,
    dpl: 0,
    db: 0,
    s: 0,
    l: 0,
    g: 0,
    avl: 0,
    unusable: 0,
  };
}

function gdtBytes(code: Segment, data: Segment, tasks: Segment[]): Uint8Array<ArrayBuffer> {
  const end = LONG_MODE_SELECTOR.task + tasks.length * SYSTEM_DESCRIPTOR_SIZE;
  const bytes = new Uint8Array(end);
  bytes.set(segmentToDescriptor(code, DESCRIPTOR_SIZE), code.selector);
  bytes.set(segmentToDescriptor(data, DESCRIPTOR_SIZE), data.selector);
  for (const task of tasks) {
    bytes.set(segmentToDescriptor(task, SYSTEM_DESCRIPTOR_SIZE), task.selector);
  }
  return bytes;
}

function tssBytes(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(TSS_SIZE);
  // An offset past the limit: there is no map, so no port is open to CPL 3.
  new DataView(bytes.buffer).setUint16(TSS_IO_MAP_BASE, TSS_SIZE, true);
  return bytes;
}

function tableRegister(writes: readonly MemoryWrite[], what: string): DescriptorTable {
  const write = writes.find((each) => each.what === what);
  if (write === undefined) return { base: 0n, limit: 0 };
  return { base: BigInt(write.gpa), limit: write.bytes.length - 1 };
}
