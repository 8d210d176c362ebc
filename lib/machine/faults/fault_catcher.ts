import { KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { FaultCatcherPlace } from "../../x86/boot/cpu_state.ts";
import {
  type ExceptionFrame,
  exceptionFrame,
  type FrameFormat,
  frameSlotBytes,
} from "../../x86/exceptions/exception_frame.ts";
import { exceptions } from "../../x86/exceptions/exceptions.ts";
import { faultVector } from "../../x86/boot/modes/fault_catcher.ts";
import { RFLAGS_ALWAYS_SET, rflagsFlags } from "../../x86/registers/flag_tables.ts";
import { getFlag } from "../../x86/registers/flags.ts";
import { PORT } from "../../x86/layout.ts";
import { CaughtFault } from "./caught_fault.ts";
import { codeLocation, linearInstructionPointer } from "../registers/code_location.ts";
import { disassemble, LONGEST_INSTRUCTION } from "../../guest/disassemble.ts";
import type { Image } from "../../guest/image.ts";
import type { LinearMemory } from "../memory/linear_memory.ts";
import type { Registers, RegisterValues } from "../registers/registers.ts";
import type { RegisterStore } from "../registers/register_store.ts";
import {
  DESCRIPTOR_SIZE,
  descriptorToSegment,
  type Segment,
  SEGMENT_TYPE,
} from "../../x86/registers/segment.ts";
import { segment16, unusableSegment } from "../../x86/boot/modes/common.ts";

const PAGE_FAULT = 14;
const DEBUG = 1;
const NMI = 2;
const BREAKPOINT = 3;
const OVERFLOW = 4;

const PRIVILEGE = 3;
const VIRTUAL_8086 = 1n << BigInt(rflagsFlags.vm.bit);
/** Bits of EFLAGS that are always the same (Intel SDM Vol. 1, 3.4.3): what lies above a frame is no EFLAGS. */
const FIXED_FLAGS = 0xffc0_802an;
const TRAP_FLAG = 1n << BigInt(rflagsFlags.tf.bit);

/** Of CS, EFLAGS and what follows: which slot of a frame without an error code it is. */
const CS_SLOT = 1;
const FLAGS_SLOT = 2;

/** In long mode the CPU aligns the stack before it pushes 5 slots, or 6 with an error code. */
const FRAME_ALIGNMENT = 16n;

const OPCODE_INT3 = 0xcc;
const OPCODE_INT = 0xcd;
const OPCODE_INTO = 0xce;

/** How far in front of a fault the start of an instruction is looked for: what lies between is disassembled. */
const FARTHEST = 4096n;

/** The instruction that a trap is behind. */
interface Trap {
  readonly length: number;
  readonly software: boolean;
  /** Whether it may be an `int`, and nothing tells. */
  readonly ambiguous: boolean;
}

const NO_TRAP: Trap = { length: 0, software: false, ambiguous: false };

/** What a catcher needs of its machine. */
interface FaultCatcherInit {
  readonly vcpu: Vcpu;
  readonly store: RegisterStore;
  readonly registers: Registers;
  readonly linear: LinearMemory;
  readonly image: Image;
  /** Where the stubs are. */
  readonly place: FaultCatcherPlace;
  /** What knows the CPU's external interrupts. */
  readonly interrupts: { isTaken(vector: number): boolean };
}

/**
 * Recognises the exit of a stub of the fault catcher, reads what the CPU saved when it entered the stub, and
 * brings the registers back to what they were in the program, as if the handler had returned.
 */
export class FaultCatcher {
  readonly #parts: FaultCatcherInit;

  /** The catcher of one machine. */
  constructor(parts: FaultCatcherInit) {
    this.#parts = parts;
  }

  /** Whether an exit can be a stub's: a byte written to its port. That of the guest's own code is none. */
  static isCandidate(kvmRun: KvmRunPage): boolean {
    return kvmRun.exitReason === EXIT_REASON.IO && kvmRun.ioPort === PORT.fault &&
      kvmRun.ioDirection === KVM_EXIT_IO.OUT;
  }

  /** The vector whose stub made the latest exit, a candidate; undefined where the guest's own code did. */
  get vector(): number | undefined {
    const { registers, place } = this.#parts;
    return faultVector(place, linearInstructionPointer(registers), registers.cs.selector);
  }

  /**
   * The fault that the latest exit, that of a vector's stub, reports. The exit must be complete
   * ({@linkcode RunLoop.complete}).
   *
   * @param isStepping Whether KVM is stepping the guest: TF in what the CPU saved is KVM's then.
   */
  catch(vector: number, isStepping: boolean): CaughtFault {
    const isExternal = this.#parts.interrupts.isTaken(vector);
    const read = this.#frame(vector, isExternal);
    const frame = isStepping ? { ...read, rflags: read.rflags & ~TRAP_FLAG } : read;
    this.#restore(frame);
    if (vector === NMI) this.#unblockNmi();
    return this.#fault(vector, frame, isExternal);
  }

  #frame(vector: number, isExternal: boolean): ExceptionFrame {
    const { registers, linear, place: { format } } = this.#parts;
    const { rsp, ss, cs } = registers;
    const smallStack = format === "real" || (format !== "64-bit" && !ss.db);
    const top = ss.base + (smallStack ? BigInt.asUintN(16, rsp) : rsp);
    const size = frameSlotBytes(format);
    const slot = (index: number) => {
      const view = new DataView(linear.read(top + BigInt(index * size), size).buffer);
      if (size === 8) return view.getBigUint64(0, true);
      return BigInt(size === 4 ? view.getUint32(0, true) : view.getUint16(0, true));
    };
    return exceptionFrame({
      format,
      // No external interrupt pushes one.
      hasErrorCode: !isExternal && this.#hasErrorCode(vector, slot),
      rsp,
      cpl: format === "real" ? 0 : cs.selector & PRIVILEGE,
      rflags: registers.rflags.value,
      smallStack,
      slot,
    });
  }

  /** Exceptions that push an error code do not when INT, or a host that has none for them, raises them. */
  #hasErrorCode(vector: number, slot: (index: number) => bigint): boolean {
    const { registers, place: { format } } = this.#parts;
    if (format === "real" || !exceptions[vector]?.hasErrorCode) return false;
    if (format === "64-bit") return registers.rsp % FRAME_ALIGNMENT === 0n;
    if (format === "32-bit" && isOfVirtual8086(slot(FLAGS_SLOT + 1))) return true;
    if (format === "32-bit" && isOfVirtual8086(slot(FLAGS_SLOT))) return false;
    return isCodeSelector(this.#parts, slot(CS_SLOT + 1)) ||
      !isCodeSelector(this.#parts, slot(CS_SLOT));
  }

  #restore(frame: ExceptionFrame): void {
    const { registers, store, place: { format } } = this.#parts;
    const { rip, rsp, rflags } = frame;
    registers.set({ ...interruptedSegments(this.#parts, frame, format), rip, rsp, rflags });
    store.flush();
  }

  /** Only an IRET unblocks NMIs, and the stub executes none. */
  #unblockNmi(): void {
    const { events } = this.#parts.vcpu;
    const state = events.getVcpuEvents();
    events.setVcpuEvents({ ...state, nmi: { ...state.nmi, masked: 0 } });
  }

  #fault(vector: number, frame: ExceptionFrame, external: boolean): CaughtFault {
    const { registers, linear, image, vcpu, place: { format } } = this.#parts;
    const next = BigInt.asUintN(64, registers.cs.base + frame.rip);
    // The instruction `int` pushes no error code: bytes that look like one before a fault that has one are none.
    const trap = frame.errorCode === undefined && !external ? this.#trap(vector, next) : NO_TRAP;
    const address = BigInt.asUintN(64, next - BigInt(trap.length));
    const isVirtual8086 = getFlag(rflagsFlags, "vm", frame.rflags) === true;
    return new CaughtFault({
      vector,
      errorCode: frame.errorCode,
      software: trap.software,
      ambiguous: trap.ambiguous,
      external,
      rip: frame.rip,
      linear: address,
      cs: frame.cs,
      rflags: frame.rflags,
      rsp: frame.rsp,
      ss: frame.ss ?? registers.ss.selector,
      cpl: format === "real" ? 0 : isVirtual8086 ? PRIVILEGE : frame.cs & PRIVILEGE,
      bits: codeLocation(this.#parts).bits,
      bytes: this.#code(address),
      ...vector === PAGE_FAULT && !trap.software && !external
        ? {
          cr2: registers.cr2,
          ...registers.cr0.pg ? { walk: linear.walk(registers.cr2) } : {},
        }
        : {},
      ...vector === DEBUG && !external ? { dr6: vcpu.registers.getDebugregs().dr6 } : {},
    }, image);
  }

  /** The instruction before `next`, where it is one that goes through this vector by itself. */
  #trap(vector: number, next: bigint): Trap {
    const { linear } = this.#parts;
    let bytes: Uint8Array;
    try {
      bytes = linear.read(next - 2n, 2);
    } catch {
      return NO_TRAP;
    }
    if (bytes[0] === OPCODE_INT && bytes[1] === vector) {
      const isInstruction = this.#mustBeInt(vector) || this.#isInstruction(next - 2n, next);
      if (isInstruction) return { length: 2, software: vector !== BREAKPOINT, ambiguous: false };
      return { ...NO_TRAP, ambiguous: isInstruction === undefined };
    }
    const isTrap = (vector === BREAKPOINT && bytes[1] === OPCODE_INT3) ||
      (vector === OVERFLOW && bytes[1] === OPCODE_INTO);
    return { ...NO_TRAP, length: isTrap ? 1 : 0 };
  }

  /** Whether no fault comes through a vector in that way: #BP and #OF are traps, and others would push an error code. */
  #mustBeInt(vector: number): boolean {
    if (vector === BREAKPOINT || vector === OVERFLOW) return true;
    return this.#parts.place.format !== "real" && exceptions[vector]?.hasErrorCode === true;
  }

  /**
   * Whether the bytes from `start` to `end` are an instruction, and not the end of another: undefined where nothing
   * tells where instructions begin. Lines of the source do, and, as long as only code lies between, labels.
   */
  #isInstruction(start: bigint, end: bigint): boolean | undefined {
    const { image, linear } = this.#parts;
    const { imageBase, bits } = codeLocation(this.#parts);
    const line = image.lineOf(end - 1n - imageBase);
    const symbol = line === undefined ? image.symbolAt(start - imageBase) : undefined;
    const first = line !== undefined
      ? line.address + imageBase
      : symbol && start - BigInt(symbol.offset);
    if (first === undefined || end - first > FARTHEST) return undefined;
    if (first >= start) return first === start;
    const { instructions, unavailable } = disassemble(linear.read(first, Number(end - first)), {
      bits,
      origin: first,
    });
    const isCode = instructions.every(({ text }) => !text.startsWith("db "));
    if (unavailable !== undefined || (line === undefined && !isCode)) return undefined;
    return instructions.some(({ address }) => address === start);
  }

  #code(address: bigint): Uint8Array {
    const { linear } = this.#parts;
    const bytes: number[] = [];
    try {
      while (bytes.length < LONGEST_INSTRUCTION) {
        bytes.push(linear.u8(address + BigInt(bytes.length)));
      }
    } catch {
      // The end of what is mapped.
    }
    return new Uint8Array(bytes);
  }
}

const PARAGRAPH = 16n;
const REAL_MODE_LIMIT = 0xffff;
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
function interruptedSegments(
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

/** Whether a value is EFLAGS of a program in virtual-8086 mode. */
function isOfVirtual8086(value: bigint): boolean {
  return (value & VIRTUAL_8086) !== 0n && (value & FIXED_FLAGS) === RFLAGS_ALWAYS_SET;
}

/** Whether a value is the selector of a code segment in the guest's tables. */
function isCodeSelector(source: SegmentSource, value: bigint): boolean {
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
