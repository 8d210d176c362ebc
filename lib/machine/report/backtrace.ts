import { hex } from "../../x86/hex.ts";
import type { CodeBits } from "../../x86/boot/cpu_state.ts";
import type { UnwindRow } from "../../guest/image_init.ts";
import { imageBaseAt } from "../registers/code_location.ts";
import { type CalledWith, GENERAL } from "./frame_arguments.ts";
import type { CodeView } from "./guest_code.ts";
import { placeNames } from "./place_names.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

const FRAMES_SHOWN = 16;
/** A recursion that has filled its stack is counted as far as that. */
const MOST_FRAMES = 4096;
/** How far a stack is searched for what looks like a return address. */
const SLOTS_SEARCHED = 256;
/** A frame pointer that is further from the stack pointer is none. */
const LARGEST_FRAME = 0x1_0000n;

/** How a caller was found. */
type Found = "unwound" | "interrupted" | "searched";

/** A function that waits for another to return. */
interface Caller {
  /** Where it goes on: a linear address. */
  readonly address: bigint;
  readonly found: Found;
}

/**
 * The functions through which a guest came to where it is, as rows for the page; none where none is found. A caller is
 * found by the tables that compilers write (`.eh_frame`, `.debug_frame`), else by the frame pointer, else by a search of
 * the stack for what looks like a return address, and those are marked: one may be left over of a call that is past. So
 * are what a gate has pushed: the code that was interrupted.
 *
 * @param address The linear address of the instruction that the page is about.
 * @param calledWith What the callers were called with.
 */
export function backtrace(
  cpu: StoppedCpu,
  code: CodeView,
  address: bigint,
  calledWith: CalledWith,
): string[] {
  const callers = new Stack(cpu, code).callers(address);
  const runs: Run[] = [];
  for (const caller of callers) {
    const last = runs.at(-1);
    if (last?.caller.address === caller.address) last.count++;
    else runs.push({ caller, count: 1 });
  }
  const shown = runs.slice(0, FRAMES_SHOWN);
  if (shown.length === 0) return [];
  const more = runs.length - shown.length;
  // All at once: each question starts a program.
  cpu.image.framesAt(shown.map(({ caller }) => placeOf(cpu, caller)));
  return [
    shown.some(({ caller }) => caller.found === "searched")
      ? "called from (?: looks like a return address on the stack)"
      : "called from",
    ...shown.flatMap((run) => callerRows(cpu, run, calledWith)),
    ...more > 0 ? [`    … and ${more} more`] : [],
  ];
}

/** A caller that is there so often, one within the other. */
interface Run {
  readonly caller: Caller;
  count: number;
}

/** Where the functions return to that wait for the one at a linear address, the nearest first. */
export function callersOf(cpu: StoppedCpu, code: CodeView, address: bigint): bigint[] {
  return new Stack(cpu, code).callers(address).map((caller) => caller.address);
}

/** A caller's place as the image has it: within its call, which may be the last instruction of a function. */
function placeOf({ image, registers }: StoppedCpu, { address, found }: Caller): bigint {
  const { imageBase } = imageBaseAt(image, address, registers.cs.base);
  return address - imageBase - (found === "interrupted" ? 0n : 1n);
}

function callerRows(cpu: StoppedCpu, { caller, count }: Run, calledWith: CalledWith): string[] {
  const { address, found } = caller;
  const isCall = found !== "interrupted";
  const place = placeOf(cpu, caller);
  // Another's registers and stack pointer are not what gdb goes by: it knows nothing of gates.
  if (found !== "unwound") calledWith.end();
  const values = calledWith.next(cpu.image, place, address);
  // Of a recursion the arguments of the nearest are shown.
  for (let more = 1; more < count; more++) calledWith.next(cpu.image, place, address);
  const names = placeNames(cpu.image, place, { more: isCall ? 1 : 0, values });
  const mark = found === "searched" ? "  ? " : "    ";
  const remark = [
    ...isCall ? [] : ["interrupted there"],
    ...count > 1
      ? [`${count} times${values.some((each) => each !== "") ? ", the nearest so" : ""}`]
      : [],
  ].map((each) => `  (${each})`).join("");
  const [first = "", ...others] = names;
  const at = hex(address);
  const rows = [`${mark}${at}  ${first}`.trimEnd()];
  for (const name of others) rows.push(`${" ".repeat(mark.length + at.length)}  ${name}`);
  rows[rows.length - 1] += remark;
  return rows;
}

const SLOT_BYTES: Readonly<Record<CodeBits, bigint>> = { 16: 2n, 32: 4n, 64: 8n };

/** Bits of RFLAGS: bit 1 is always set, and those above ID are clear (Intel SDM volume 1, 3.4.3). */
const RFLAGS = { ALWAYS_SET: 2n, FIRST_RESERVED: 22n } as const;

/** What a call calls, as the image has it; "somewhere" where a register or memory says that. */
type Called = bigint | "somewhere";

/** A stack that is unwound. */
class Stack {
  readonly #cpu: StoppedCpu;
  readonly #code: CodeView;
  readonly #bits: CodeBits;
  readonly #slot: bigint;
  /** What to add to the values of stack pointers, and how many bits of those count. */
  readonly #base: bigint;
  readonly #width: number;
  readonly #codeBase: bigint;
  #registers: Map<string, bigint>;
  #pointer: bigint;

  constructor(cpu: StoppedCpu, code: CodeView) {
    const { registers } = cpu;
    const { ss, cs, rsp } = registers;
    this.#cpu = cpu;
    this.#code = code;
    this.#bits = code.place.bits;
    this.#slot = SLOT_BYTES[this.#bits];
    this.#base = this.#bits === 64 ? 0n : ss.base;
    this.#width = this.#bits === 64 ? 64 : ss.db ? 32 : 16;
    this.#codeBase = this.#bits === 64 ? 0n : cs.base;
    this.#registers = new Map(GENERAL.map((name) => [name, registers[name]]));
    this.#pointer = BigInt.asUintN(this.#width, rsp);
  }

  /** The callers of the function at a linear address, the nearest first. */
  callers(address: bigint): Caller[] {
    const found: Caller[] = [];
    let here = address;
    let isCall = false;
    while (found.length < MOST_FRAMES) {
      const before = this.#pointer;
      const caller = this.#callerOf(isCall ? here - 1n : here);
      if (caller === undefined || this.#pointer <= before) break;
      found.push(caller);
      here = caller.address;
      isCall = caller.found !== "interrupted";
    }
    return found;
  }

  /** The caller of the function at an address, with the stack and the registers as it has them. */
  #callerOf(address: bigint): Caller | undefined {
    const { image, registers } = this.#cpu;
    const own = address - imageBaseAt(image, address, registers.cs.base).imageBase;
    const row = image.unwindRowAt(own);
    if (row !== undefined) return this.#byTable(row);
    const name = this.#functionAt(own);
    const callsIt = (called: Called) =>
      typeof called === "bigint" && name !== undefined && this.#functionAt(called) === name;
    return this.#byFramePointer(callsIt) ?? this.#byOwnCall(callsIt) ??
      this.#byFramePointer(() => true) ?? this.#bySearch();
  }

  #byTable({ cfa, saved }: UnwindRow): Caller | undefined {
    const register = cfa?.register === "rsp"
      ? this.#pointer
      : this.#registers.get(cfa?.register ?? "");
    if (cfa === undefined || register === undefined) return this.#bySearch();
    const frame = register + cfa.offset;
    const restored = new Map(this.#registers);
    let back: bigint | undefined;
    for (const { register, offset } of saved) {
      const value = this.#read(frame + offset);
      if (value === undefined) return undefined;
      if (register === "ra") back = frame + offset;
      else restored.set(register, value);
    }
    if (back === undefined) return undefined;
    this.#registers = restored;
    return this.#take(back, "unwound", frame);
  }

  /** In a function that has no frame yet, or none at all: a return address behind a call of just that function. */
  #byOwnCall(callsIt: (called: Called) => boolean): Caller | undefined {
    const frame = this.#framePointer() ?? this.#pointer;
    const slots = frame > this.#pointer ? (frame - this.#pointer) / this.#slot : 4n;
    const searched = slots < SLOTS_SEARCHED ? slots : BigInt(SLOTS_SEARCHED);
    const end = this.#pointer + this.#slot * searched;
    return this.#search(end, callsIt, "unwound");
  }

  #functionAt(address: bigint): string | undefined {
    // Local labels and a compiler's parts are of the function.
    return this.#cpu.image.symbolAt(address)?.name.split(".")[0];
  }

  /** By a frame pointer under which there is a return address behind a call of what is wanted. */
  #byFramePointer(isWanted: (called: Called) => boolean): Caller | undefined {
    const frame = this.#framePointer();
    if (frame === undefined) return undefined;
    const saved = this.#read(frame);
    const back = this.#read(frame + this.#slot);
    if (saved === undefined || back === undefined) return undefined;
    const called = this.#calledBefore(this.#linear(back));
    if (called === undefined || !isWanted(called)) return undefined;
    this.#registers.set("rbp", saved);
    return this.#take(frame + this.#slot, "unwound", frame + this.#slot * 2n);
  }

  /** Undefined where the register can be none: then it may be anything. */
  #framePointer(): bigint | undefined {
    const frame = BigInt.asUintN(this.#width, this.#registers.get("rbp")!);
    return frame < this.#pointer || frame - this.#pointer > LARGEST_FRAME ? undefined : frame;
  }

  #bySearch(): Caller | undefined {
    const end = this.#pointer + this.#slot * BigInt(SLOTS_SEARCHED);
    return this.#search(end, () => true, "searched");
  }

  #search(
    end: bigint,
    isWanted: (called: Called) => boolean,
    found: Found,
  ): Caller | undefined {
    for (let at = this.#pointer; at < end; at += this.#slot) {
      const value = this.#read(at);
      if (value === undefined) return undefined;
      const called = this.#calledBefore(this.#linear(value));
      if (called === undefined ? this.#isInterruptFrame(at) : isWanted(called)) {
        return this.#take(at, found, at + this.#slot);
      }
    }
    return undefined;
  }

  /** Goes to the caller whose return address lies at a place of the stack, if it is one. */
  #take(at: bigint, found: Found, pointer: bigint): Caller | undefined {
    const value = this.#read(at);
    if (value === undefined) return undefined;
    const address = this.#linear(value);
    if (this.#calledBefore(address) !== undefined) {
      this.#pointer = pointer;
      return { address, found };
    }
    if (!this.#isInterruptFrame(at)) return undefined;
    const outer = this.#read(at + this.#slot * 3n);
    this.#pointer = this.#bits === 64 && outer !== undefined ? outer : at + this.#slot * 3n;
    return { address, found: "interrupted" };
  }

  /** Whether a gate has pushed what lies there: RIP of the image, CS, and RFLAGS. */
  #isInterruptFrame(at: bigint): boolean {
    const [rip, cs, rflags] = [0n, 1n, 2n].map((index) => this.#read(at + index * this.#slot));
    return rip !== undefined && cs !== undefined && rflags !== undefined &&
      cs === BigInt(this.#cpu.registers.cs.selector) &&
      (rflags & RFLAGS.ALWAYS_SET) !== 0n && rflags >> RFLAGS.FIRST_RESERVED === 0n &&
      this.#isInImage(this.#linear(rip));
  }

  /**
   * What was called by the instruction that ends at a linear address; undefined where that is no call.
   */
  #calledBefore(address: bigint): Called | undefined {
    if (address < BigInt(CALL.LONGEST) || !this.#isInImage(address - 1n)) return undefined;
    const bytes = this.#code.bytes(address - BigInt(CALL.LONGEST), CALL.LONGEST);
    if (bytes.length < CALL.LONGEST) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const distances = [
      ...this.#bits === 16 && bytes.at(-3) === CALL.NEAR
        ? [view.getInt16(bytes.length - 2, true)]
        : [],
      // In 16-bit code with an operand-size prefix, as compilers write it.
      ...bytes.at(-5) === CALL.NEAR && (this.#bits !== 16 || bytes.at(-6) === CALL.OPERAND_SIZE)
        ? [view.getInt32(bytes.length - 4, true)]
        : [],
    ];
    for (const distance of distances) {
      const target = BigInt.asUintN(64, address + BigInt(distance));
      if (!this.#isInImage(target)) continue;
      return target - imageBaseAt(this.#cpu.image, target, this.#codeBase).imageBase;
    }
    return isIndirectCall(bytes) ? "somewhere" : undefined;
  }

  #isInImage(address: bigint): boolean {
    const { image } = this.#cpu;
    return image.segmentAt(address - imageBaseAt(image, address, this.#codeBase).imageBase) !==
      undefined;
  }

  #linear(value: bigint): bigint {
    return BigInt.asUintN(this.#bits === 64 ? 64 : 32, value + this.#codeBase);
  }

  #read(at: bigint): bigint | undefined {
    try {
      const bytes = this.#cpu.linear.read(
        BigInt.asUintN(64, this.#base + BigInt.asUintN(this.#width, at)),
        Number(this.#slot),
      );
      return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
    } catch {
      // It is not mapped.
      return undefined;
    }
  }
}

/** Opcodes of near calls (Intel SDM volume 2, CALL): E8 with a distance, FF /2 with an operand. */
const CALL = {
  OPERAND_SIZE: 0x66,
  NEAR: 0xe8,
  INDIRECT: 0xff,
  INDIRECT_EXTENSION: 2,
  LONGEST: 7,
} as const;

/** Whether the last bytes can be a call of what a register or memory has: FF, ModRM, and what that takes. */
function isIndirectCall(bytes: Uint8Array): boolean {
  for (let length = 2; length <= CALL.LONGEST; length++) {
    const start = bytes.length - length;
    const [opcode, modrm] = [bytes[start], bytes[start + 1]];
    if (opcode !== CALL.INDIRECT || ((modrm >> 3) & 7) !== CALL.INDIRECT_EXTENSION) continue;
    if (length === 2 + operandBytes(modrm, bytes[start + 2])) return true;
  }
  return false;
}

/** How many bytes follow a ModRM byte, of 32-bit and 64-bit addressing (Intel SDM volume 2, table 2-2). */
function operandBytes(modrm: number, sib: number): number {
  const [mod, rm] = [modrm >> 6, modrm & 7];
  if (mod === 3) return 0;
  const hasSib = rm === 4;
  const isAbsolute = mod === 0 && (rm === 5 || (hasSib && (sib & 7) === 5));
  return (hasSib ? 1 : 0) + (mod === 1 ? 1 : mod === 2 || isAbsolute ? 4 : 0);
}
