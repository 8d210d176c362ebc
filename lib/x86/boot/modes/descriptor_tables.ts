import type { DescriptorTable, FaultCatcherPlace, SegmentName } from "../cpu_state.ts";
import type { MemoryWrite } from "../../placement.ts";
import { faultGates, faultWrites } from "./fault_catcher.ts";
import { PROTECTED_MODE, SELECTOR, SYSTEM_CALL_VECTOR } from "../../layout.ts";
import {
  DESCRIPTOR_SIZE,
  type Segment,
  SEGMENT_TYPE,
  segmentToDescriptor,
  SYSTEM_DESCRIPTOR_SIZE,
} from "../../registers/segment.ts";
import { unusableSegment } from "./common.ts";
import { type Gate, interruptTable } from "./interrupt_table.ts";

/** How wide code is. */
type Bits = 16 | 32 | 64;

/** What a mode needs of its descriptor tables. */
interface TableNeeds {
  /** How wide code is at CPL 0, and so are handlers. */
  bits: Bits;
  /** How wide the code that starts is; as wide as handlers where left out. */
  codeBits?: Bits;
  /** The privilege level to start at. */
  cpl: 0 | 3;
  /** Whether CPL 3 may use all ports. */
  opensPorts: boolean;
  /** Where a TSS with an I/O permission map goes by default. */
  taskWithPorts?: number;
}

/** Segment and table registers of a mode with protection, and the memory that they stand for. */
interface DescriptorTables {
  /** What to load. */
  registers: Record<SegmentName, Segment> & Record<"gdt" | "idt", DescriptorTable>;
  /** The GDT, TSS, IDT, fault stubs and `int 0x80` handler, as far as there are any. */
  writes: MemoryWrite[];
  /** Where the fault catcher is, where there is one. */
  faultCatcher?: FaultCatcherPlace;
}

/** HLT, then a return from the interrupt: IRETQ and IRETD. */
const SYSTEM_CALL_HANDLER = { 32: [0xf4, 0xcf], 64: [0xf4, 0x48, 0xcf] } as const;

/**
 * GDT, TSS and IDT, with the registers that name them.
 *
 * What is left out is not written and has limit 0. Segments are loaded all the same: the CPU looks into the
 * GDT only when a register is loaded anew. TR too, since VMX enters no guest without a busy TSS there.
 *
 * @throws {RangeError} When a gate cannot be, or the privilege level is neither 0 nor 3.
 * @throws {TypeError} When faults are to be caught without a table that this needs.
 */
export function descriptorTables(layout: ProtectionLayout, needs: TableNeeds): DescriptorTables {
  const { bits, codeBits = bits, cpl, opensPorts } = needs;
  if (cpl !== 0 && cpl !== 3) {
    throw new RangeError(`Cannot start at privilege level ${cpl}: machines start at 0 or at 3`);
  }
  const {
    gdt = PROTECTED_MODE.globalDescriptorTable,
    idt = PROTECTED_MODE.interruptDescriptorTable,
    tss = opensPorts
      ? needs.taskWithPorts ?? PROTECTED_MODE.taskStateSegmentWithPorts
      : PROTECTED_MODE.taskStateSegment,
  } = layout;
  const { catchFaults = false } = layout;
  if (catchFaults) refuseMissingTables({ gdt, idt, tss });
  const taskBytes = taskState({
    is64Bit: bits === 64,
    hasKernelStack: cpl === 3 || catchFaults,
    hasFaultStack: bits === 64 && catchFaults,
    opensPorts,
  });
  const task = taskSegment(tss === false ? undefined : tss, taskBytes.length);
  const segments = flatSegments(bits, codeBits, cpl);
  const writes: MemoryWrite[] = [];
  if (gdt !== false) {
    const descriptors = tss === false ? segments : [...segments, task];
    writes.push({ gpa: gdt, bytes: gdtBytes(descriptors, bits), what: "GDT" });
  }
  if (tss !== false) writes.push({ gpa: tss, bytes: taskBytes, what: "TSS" });
  const gates = { ...catchFaults ? faultGates(bits) : {}, ...layout.gates };
  if (idt !== false) writes.push(...interruptWrites(idt, gates, needs));
  if (catchFaults) writes.push(...faultWrites(bits));
  const code = segments.find(({ selector }) => selector === codeSelector(bits, codeBits, cpl))!;
  const data = segments.find(({ selector }) =>
    selector === (cpl === 3 ? SELECTOR.userData | cpl : SELECTOR.data)
  )!;
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
    ...catchFaults
      ? { faultCatcher: { format: `${bits}-bit`, stubs: PROTECTED_MODE.faultStubs } }
      : {},
  };
}

function refuseMissingTables(
  tables: Readonly<Record<"gdt" | "idt" | "tss", number | false>>,
): void {
  for (const [name, address] of Object.entries(tables)) {
    if (address !== false) continue;
    throw new TypeError(
      `Cannot catch faults without ${name.toUpperCase()}: leave out \`${name}: false\`, or \`catchFaults\``,
    );
  }
}

function interruptWrites(
  idt: number,
  gates: Readonly<Record<number, number | bigint | Gate>>,
  { bits, cpl }: TableNeeds,
): MemoryWrite[] {
  if (cpl === 0 || bits === 16 || Object.hasOwn(gates, SYSTEM_CALL_VECTOR)) {
    return [{ gpa: idt, bytes: interruptTable(gates, bits), what: "IDT" }];
  }
  const gpa = PROTECTED_MODE.systemCallHandler;
  const withHandler = { ...gates, [SYSTEM_CALL_VECTOR]: gpa };
  return [
    { gpa: idt, bytes: interruptTable(withHandler, bits), what: "IDT" },
    {
      gpa,
      bytes: Uint8Array.from(SYSTEM_CALL_HANDLER[bits]),
      what: "handler of int 0x80",
    },
  ];
}

function codeSelector(bits: Bits, codeBits: Bits, cpl: 0 | 3): number {
  if (cpl === 3) return (codeBits === 64 ? SELECTOR.userCode64 : SELECTOR.userCode32) | cpl;
  return codeBits === bits ? SELECTOR.code : SELECTOR.code32;
}

/** The segments that a GDT needs, each with its selector, RPL included. */
function flatSegments(bits: Bits, codeBits: Bits, cpl: 0 | 3): Segment[] {
  return [
    codeSegment(SELECTOR.code, bits),
    dataSegment(SELECTOR.data, bits),
    ...codeBits === bits ? [] : [codeSegment(SELECTOR.code32, codeBits)],
    ...cpl === 0 ? [] : [
      codeSegment(SELECTOR.userCode32 | cpl, 32),
      dataSegment(SELECTOR.userData | cpl, bits),
    ],
    ...cpl === 0 || bits !== 64 ? [] : [codeSegment(SELECTOR.userCode64 | cpl, bits)],
  ];
}

function codeSegment(selector: number, bits: Bits): Segment {
  return {
    ...dataSegment(selector, bits),
    type: SEGMENT_TYPE.executeReadCodeAccessed,
    db: bits === 32 ? 1 : 0,
    l: bits === 64 ? 1 : 0,
  };
}

/** All that a segment can reach: 64 KiB where offsets have 16 bits, else 4 GiB. */
function dataSegment(selector: number, bits: Bits): Segment {
  const isWide = bits !== 16;
  return {
    base: 0n,
    limit: isWide ? 0xffff_ffff : 0xffff,
    selector,
    type: SEGMENT_TYPE.readWriteDataAccessed,
    present: 1,
    dpl: selector & 3,
    db: isWide ? 1 : 0,
    s: 1,
    l: 0,
    g: isWide ? 1 : 0,
    avl: 0,
    unusable: 0,
  };
}

function taskSegment(address: number | undefined, size: number): Segment {
  return {
    base: BigInt(address ?? 0),
    limit: address === undefined ? 0 : size - 1,
    selector: SELECTOR.task,
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

function gdtBytes(segments: readonly Segment[], bits: Bits): Uint8Array<ArrayBuffer> {
  const descriptors = segments.map((segment) => ({
    offset: segment.selector & ~3,
    bytes: segmentToDescriptor(
      segment,
      segment.s === 0 && bits === 64 ? SYSTEM_DESCRIPTOR_SIZE : DESCRIPTOR_SIZE,
    ),
  }));
  const end = Math.max(...descriptors.map(({ offset, bytes }) => offset + bytes.length));
  const table = new Uint8Array(end);
  for (const { offset, bytes } of descriptors) table.set(bytes, offset);
  return table;
}

function tableRegister(writes: readonly MemoryWrite[], what: string): DescriptorTable {
  const write = writes.find((each) => each.what === what);
  if (write === undefined) return { base: 0n, limit: 0 };
  return { base: BigInt(write.gpa), limit: write.bytes.length - 1 };
}

/** Bytes of a TSS of 32 or 64 bits without an I/O permission map. */
const TSS_SIZE = 104;

/** A bit for each of 65,536 ports, and the byte of ones that must follow (Intel SDM Vol. 1, 19.5.2). */
const IO_MAP_SIZE = 65_536 / 8;
const IO_MAP_END = 0xff;
/** Where a TSS keeps the offset of its I/O permission map (Intel SDM Vol. 3A, 7.2.1 and 7.7). */
const IO_MAP_BASE = 102;
/** ESP0, followed by SS0, and RSP0: the stack for CPL 0, at the same offset in TSSs of 32 and 64 bits. */
const STACK_0 = 4;
const STACK_SEGMENT_0 = 8;
/** IST1 in a TSS of 64 bits (Intel SDM Vol. 3A, 7.7). */
const FAULT_STACK = 36;

/** What a task-state segment is to have. */
interface TaskState {
  /** Whether it is one of long mode. */
  is64Bit: boolean;
  /** Whether there is a stack for handlers that CPL 3 enters. */
  hasKernelStack: boolean;
  /** Whether the fault catcher's stubs have a stack of their own (IST1), which long mode alone can give them. */
  hasFaultStack: boolean;
  /** Whether code at CPL 3 may use all ports. */
  opensPorts: boolean;
}

/** The bytes of a task-state segment. */
function taskState(
  { is64Bit, hasKernelStack, hasFaultStack, opensPorts }: TaskState,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(TSS_SIZE + (opensPorts ? IO_MAP_SIZE + 1 : 0));
  const view = new DataView(bytes.buffer);
  if (hasKernelStack) {
    view.setUint32(STACK_0, PROTECTED_MODE.kernelStackTop, true);
    if (!is64Bit) view.setUint16(STACK_SEGMENT_0, SELECTOR.data, true);
  }
  if (hasFaultStack) view.setBigUint64(FAULT_STACK, BigInt(PROTECTED_MODE.faultStackTop), true);
  // Without a map this offset is past the limit: then no port is open to CPL 3.
  view.setUint16(IO_MAP_BASE, TSS_SIZE, true);
  if (opensPorts) bytes[bytes.length - 1] = IO_MAP_END;
  return bytes;
}

/**
 * What every boot state with descriptor tables can be told (Intel SDM Vol. 3A, 3.5, 6.11 and 7.2). All of it has
 * defaults.
 */
export interface ProtectionLayout {
  /** Bytes of memory from address 0 on, in which tables must fit. */
  memorySize?: number;
  /**
   * Address of the GDT, or false for none: then nothing is written, GDTR has limit 0, and segments are
   * there only in the hidden part of their registers; a guest must not load them anew. Default 0x5000.
   */
  gdt?: number | false;
  /** Address of the IDT, 256 gates, or false for none (limit 0). Default 0x6000. */
  idt?: number | false;
  /**
   * Address of the TSS, or false for none (limit 0). Default 0x5100; with an I/O permission map 0xc000, and
   * 0x1000 in virtual-8086 mode.
   */
  tss?: number | false;
  /**
   * Handlers by vector: linear addresses. Each gets an interrupt gate that CPL 3 may use; all other gates are
   * absent. Handlers run at CPL 0, and in long mode as 64-bit code.
   */
  gates?: Readonly<Record<number, number | bigint>>;
  /**
   * Whether the vectors 0 to 31 that `gates` leaves open report what comes through them: a stub for each at
   * 0x5280, which writes to port 0xbe. What the guest itself does with that port is an exit like any other. Needs a
   * GDT, an IDT and a TSS. In long mode it has a stack of its own below 0x5400. What comes through another vector is the
   * #GP that the CPU makes of it, whose error code names the gate. A guest that loads an IDT of its own (`lidt`), or
   * sets gates of this one, has its faults to itself from there on. Default false.
   */
  catchFaults?: boolean;
}

/** What boot states that can start at CPL 3 can be told (Intel SDM Vol. 3A, 5.5, and Vol. 1, 19.5.2). */
export interface PrivilegeLayout extends ProtectionLayout {
  /**
   * The privilege level to start at. At 3 the TSS has a stack for CPL 0, the identity map's pages are user
   * pages, and, unless `gates` has another handler, `int 0x80` enters one that executes HLT at CPL 0 and returns.
   * Default 0.
   */
  cpl?: 0 | 3;
  /** Whether code at CPL 3 may use all I/O ports: the TSS has an I/O permission map that says so. Default true. */
  ioPermission?: boolean;
}
