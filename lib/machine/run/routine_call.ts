import type { Address } from "../../guest/address.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import type { CodeBits } from "../../x86/boot/cpu_state.ts";
import { exitText } from "../report/exit_text.ts";
import type { DebugExit, Exit } from "../../kvm/exits/exit.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import { formatAddress, hex } from "../../x86/hex.ts";
import { PORT } from "../../x86/layout.ts";
import { type MpState, mpStateNumber } from "../interrupts/vcpu_events.ts";
import { codeBits, labelAddress } from "../registers/code_location.ts";
import type { Registers, RegisterValues } from "../registers/registers.ts";
import { CallError, isOfGuest } from "./run_errors.ts";
import type { CpuRunner } from "./cpu_runner.ts";
import type { CallInput, CallOptions } from "./run_options.ts";

/** Where the first arguments of 64-bit code are (System V ABI, AMD64 supplement, 3.2.3). */
const ARGUMENT_REGISTERS = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"] as const;

/** Bytes below RSP that belong to the function that was interrupted (the same, 3.2.2). */
const RED_ZONE = 128n;

/** What the stack pointer of 32- and 64-bit code is a multiple of before a call (the same; i386 supplement, 2.2.2). */
const STACK_ALIGNMENT = 16n;

/** Alignment of the stub in 16-bit code, so that it lies in one page. */
const STUB_ALIGNMENT = 4n;

const OPCODE_OUT = 0xe6;
const OPCODE_HLT = 0xf4;
const OUT_SIZE = 2n;

/** What a routine returns to: an exit, whatever the width of the code. Where something swallows that, the CPU halts. */
const STUB = new Uint8Array([OPCODE_OUT, PORT.fault, OPCODE_HLT]);

/**
 * Registers that belong to the caller: a function that uses them puts them back (System V ABI: AMD64 supplement, 3.2.1;
 * i386 supplement, 2.2.1; of 16-bit C, Agner Fog, Calling conventions, 6).
 */
const CALLEE_SAVED = {
  16: ["si", "di", "bp"],
  32: ["ebx", "esi", "edi", "ebp"],
  64: ["rbx", "rbp", "r12", "r13", "r14", "r15"],
} as const;

/** What is in force for those, too: it is clear when a function is called, and when it returns. */
const DIRECTION_FLAG = "rflags.df";

/** Registers that the call itself sets, or that say where the routine is. */
const NOT_GIVEN = ["rip", "eip", "ip", "cs"];

const WORDS = { 16: 2, 32: 4, 64: 8 } as const;

/** Where a call puts what on the guest's stack: offsets in its stack segment. */
export interface CallFrame {
  /**
   * The stack pointer at the routine's first instruction: the return address lies there, and above it the arguments.
   */
  readonly sp: bigint;
  /** The stub. */
  readonly stub: bigint;
}

/**
 * Lays out a call's frame.
 *
 * @param top The stack pointer before the call.
 * @param bits The width of the code.
 * @param count How many arguments are on the stack.
 */
export function callFrame(top: bigint, bits: CodeBits, count: number): CallFrame {
  const word = BigInt(WORDS[bits]);
  const below = (address: bigint, size: bigint, alignment: bigint) => {
    const end = address - size;
    return end - BigInt.asUintN(4, end) % alignment;
  };
  const stub = below(
    top - (bits === 64 ? RED_ZONE : 0n),
    BigInt(STUB.length),
    bits === 16 ? STUB_ALIGNMENT : STACK_ALIGNMENT,
  );
  const lowest = below(stub, word * BigInt(count), bits === 16 ? word : STACK_ALIGNMENT);
  return { sp: lowest - word, stub };
}

/** What a routine is given. */
interface Input {
  /** Registers. */
  readonly values: RegisterValues;
  /** Words on the stack. */
  readonly stacked: readonly bigint[];
  /** Registers that must be after the call as they were before. */
  readonly saved: readonly string[];
}

/**
 * A routine of the guest that is called, and how it is known to have returned.
 *
 * Its return address leads to a stub on the guest's own stack, above the arguments, whose `out` is an exit. Where the
 * stub could not be executed (no-execute pages, a code segment that does not reach the stack, code at CPL 3, which may
 * not use ports), the return address has a breakpoint.
 */
export class RoutineCall {
  /** The routine as the test named it, for messages. */
  readonly name: string;
  /** The CPU that runs it. */
  readonly runner: CpuRunner;
  readonly #bits: CodeBits;
  readonly #returns: NonNullable<CallOptions["returns"]>;
  readonly #rip: bigint;
  readonly #input: Input;
  #isDone = false;
  #saved: readonly ReturnType<Registers["get"]>[] = [];
  /** The state before the call that the CPU is brought back to. */
  #before!: { readonly rip: bigint; readonly rsp: bigint; readonly mpState: MpState };
  #selector!: number;
  /** The stack pointer when the routine has returned. */
  #sp!: bigint;
  /** The linear address that it returns to. */
  #returnsTo!: bigint;
  #breakpoint: Disposable | undefined;
  #seen: CpuRunner["seen"];

  /**
   * A call that is still to be made.
   *
   * @param routine A label, or a linear address.
   * @throws {RangeError} When there is no such label, or an argument does not fit.
   * @throws {TypeError} When a register is given that the call sets.
   */
  constructor(
    runner: CpuRunner,
    routine: Address,
    given: CallInput,
    returns: CallOptions["returns"],
  ) {
    const { registers } = runner.parts.cpu;
    this.runner = runner;
    this.name = typeof routine === "string" ? routine : formatAddress(routine);
    this.#bits = codeBits(registers);
    this.#returns = returns ?? `u${this.#bits}`;
    if (!/^[ui](8|16|32|64)$/.test(this.#returns) || this.#width > 2 * this.#bits) {
      throw this.#refused(
        TypeError,
        `it cannot return ${
          JSON.stringify(returns)
        } in ${this.#bits}-bit code. Give "u8" or "i8" to "u${Math.min(64, 2 * this.#bits)}" or "i${
          Math.min(64, 2 * this.#bits)
        }"`,
      );
    }
    this.#rip = BigInt.asUintN(64, this.#addressOf(routine) - registers.cs.base);
    this.#input = this.#read(given);
  }

  /**
   * Brings the CPU to the routine's first instruction.
   *
   * @throws {RangeError} When there is no such register, a value does not fit, or there is no memory for the stack.
   * @throws {TypeError} When the CPU waits for a SIPI.
   */
  enter(): this {
    const { runner } = this;
    const { cpu, debug } = runner.parts;
    const { registers, linear, mpState } = cpu;
    const { values, stacked, saved } = this.#input;
    if (mpState !== "RUNNABLE" && mpState !== "HALTED") {
      throw this.#refused(TypeError, `CPU ${cpu.number} has not been started: it is ${mpState}`);
    }
    const { rsp } = registers;
    registers.set(values);
    const { mask, base } = stackOf(registers, this.#bits);
    const top = registers.rsp & mask;
    // The first push at SP = 0 is at the end of a segment of 64 KiB.
    const frame = callFrame(top === 0n ? mask + 1n : top, this.#bits, stacked.length);
    const stub = BigInt.asUintN(64, base + frame.stub);
    const code = registers.cs;
    const isReached = isOffset(stub - code.base, code.limit, this.#bits);
    // At the end of a segment there is no code: it would run on beyond.
    const offset = isReached ? stub - code.base : lastOffset(code.limit, this.#bits);
    this.#returnsTo = BigInt.asUintN(64, code.base + offset);
    this.#before = { rip: registers.rip, rsp, mpState };
    this.#selector = code.selector;
    const word = WORDS[this.#bits];
    this.#sp = frame.sp + BigInt(word) & mask;
    try {
      linear.write(BigInt.asUintN(64, base + frame.sp), wordsOf([offset, ...stacked], word));
      linear.write(stub, STUB);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw this.#refused(
        RangeError,
        `there is no memory for its stack, below rsp ${hex(registers.rsp)}. Give the guest one: ` +
          `vm.registers.rsp = … (${error.message})`,
      );
    }
    registers.set({ rip: this.#rip, rsp: (registers.rsp & ~mask) | (frame.sp & mask) });
    this.#saved = saved.map((name) => registers.get(name));
    this.#breakpoint = isReached && this.#mayExecute(stub)
      ? undefined
      : debug.breakAt(this.#returnsTo);
    if (mpState === "HALTED") setMpState(runner, "RUNNABLE");
    this.#seen = runner.seen;
    runner.parts.loop.setCall(this);
    return this;
  }

  /** Whether the latest exit is that of the routine's return. To be asked at an exit that nobody has been told of. */
  get hasReturned(): boolean {
    const { kvmRun } = this.runner.parts.vcpu;
    if (this.#breakpoint !== undefined) {
      return kvmRun.exitReason === EXIT_REASON.DEBUG &&
        (kvmRun.exit() as DebugExit).pc === this.#returnsTo;
    }
    return this.#isAtOut;
  }

  get #isAtOut(): boolean {
    const { kvmRun } = this.runner.parts.vcpu;
    const isPort = kvmRun.exitReason === EXIT_REASON.IO && kvmRun.ioPort === PORT.fault &&
      kvmRun.ioDirection === KVM_EXIT_IO.OUT;
    // Whether KVM has moved rip past the `out` already depends on how it came to execute it.
    return isPort && [0n, OUT_SIZE].includes(this.#behindReturn);
  }

  /** How far behind its return address the guest stands. */
  get #behindReturn(): bigint {
    const { cs, rip } = this.runner.parts.cpu.registers;
    return cs.base + rip - this.#returnsTo;
  }

  /** Whether the latest exit is that of its return, after the call was given up: its `out`, or the HLT behind that. */
  get comesBack(): boolean {
    const { vcpu: { kvmRun }, cpu: { linear } } = this.runner.parts;
    const isAtHalt = kvmRun.exitReason === EXIT_REASON.HLT &&
      this.#behindReturn === BigInt(STUB.length);
    if (!isAtHalt && !this.#isAtOut) return false;
    return linear.read(this.#returnsTo, STUB.length).every((byte, index) => byte === STUB[index]);
  }

  /**
   * Brings the CPU back to where it was, once the routine has returned.
   *
   * @returns The routine's result.
   * @throws {CallError} When it has not returned as routines do.
   */
  finish(): bigint {
    const { cpu, cpu: { registers } } = this.runner.parts;
    const { selector } = registers.cs;
    const sp = registers.rsp & stackOf(registers, this.#bits).mask;
    if (selector !== this.#selector) {
      throw new CallError(
        cpu,
        `${this.name} came back with CS ${hex(selector)} where it was called with ${
          hex(this.#selector)
        }: a routine that is called returns by a near \`ret\``,
      );
    }
    if (sp !== this.#sp) {
      throw new CallError(
        cpu,
        `${this.name} came back with rsp ${hex(sp)}, expected ${
          hex(this.#sp)
        }: it leaves something on the stack, or pops what is not its own (arguments are the caller's)`,
      );
    }
    this.#checkSaved();
    const result = this.#result(registers);
    const { rip, rsp, mpState } = this.#before;
    registers.set({ rip, rsp });
    this.runner.seen = this.#seen;
    if (mpState === "HALTED") setMpState(this.runner, mpState);
    this.#isDone = true;
    return result;
  }

  /** @throws {CallError} When the routine has not kept what the C convention says is its caller's. */
  #checkSaved(): void {
    const { cpu, cpu: { registers } } = this.runner.parts;
    const text = (value: ReturnType<Registers["get"]>) =>
      typeof value === "boolean" ? String(value) : hex(value as bigint);
    this.#input.saved.forEach((name, index) => {
      const before = this.#saved[index];
      const after = registers.get(name);
      if (after === before) return;
      throw new CallError(
        cpu,
        `${this.name} came back with ${name} ${text(after)}, expected ${
          text(before)
        }: by the C convention it is the caller's. A routine of another convention is given registers, not a list`,
      );
    });
  }

  /** The error for a routine whose run ended before it returned. */
  ended(exit: Exit): CallError {
    const { cpu } = this.runner.parts;
    return new CallError(
      cpu,
      `${this.name} did not return: the run ended with ${exitText(exit)}`,
      exit,
    );
  }

  /** Runs `body`, in which the routine runs: an error about the guest says that it is the routine's. */
  explaining<Result>(body: () => Result): Result {
    try {
      return body();
    } catch (error) {
      if (isOfGuest(error) && !(error instanceof CallError)) {
        error.message = `${this.name} did not return. ${error.message}`;
      }
      throw error;
    }
  }

  /** Takes away what the call needed, whether the routine has returned or not. */
  [Symbol.dispose](): void {
    this.#breakpoint?.[Symbol.dispose]();
    if (!this.#isDone) this.runner.givenUp.push(this);
    this.runner.parts.loop.setCall(undefined);
  }

  #addressOf(place: Address): bigint {
    const { image, registers } = this.runner.parts.cpu;
    if (typeof place === "string") {
      return labelAddress({ registers, image }, place);
    }
    const isAddress = typeof place === "bigint"
      ? BigInt.asUintN(64, place) === place
      : Number.isSafeInteger(place) && place >= 0;
    if (isAddress) return BigInt(place);
    throw this.#refused(RangeError, `${String(place)} is no linear address. Give a label, or one`);
  }

  /** The registers that a call sets, and the words that it pushes. */
  #read(given: CallInput): Input {
    if (typeof given !== "object" || given === null) {
      throw this.#refused(
        TypeError,
        `it is given ${String(given)}: give registers, { al: 0x41 }, or a list of arguments`,
      );
    }
    if (!isList(given)) {
      for (const [path] of definedEntries(`call ${this.name} with`, given)) {
        if (!NOT_GIVEN.includes(path.split(".")[0])) continue;
        throw this.#refused(
          TypeError,
          `${path} says where the routine is. Give its label, or its address`,
        );
      }
      return { values: given, stacked: [], saved: [] };
    }
    // Not given.map, which passes over holes.
    const values = Array.from(given, (argument, index) => this.#argument(argument, index));
    const saved = [...CALLEE_SAVED[this.#bits], DIRECTION_FLAG];
    if (this.#bits !== 64) return { values: { [DIRECTION_FLAG]: false }, stacked: values, saved };
    const inRegisters = ARGUMENT_REGISTERS.slice(0, values.length)
      .map((name, index) => [name, values[index]]);
    return {
      // AL is how many vector registers a variadic function is given.
      values: { rax: 0, [DIRECTION_FLAG]: false, ...Object.fromEntries(inRegisters) },
      stacked: values.slice(ARGUMENT_REGISTERS.length),
      saved,
    };
  }

  #argument(value: Address, index: number): bigint {
    const bits = this.#bits;
    if (typeof value === "string") return this.#pointer(value);
    if (typeof value !== "bigint" && !Number.isSafeInteger(value)) {
      throw this.#refused(TypeError, `argument ${index} is ${String(value)}, no whole number`);
    }
    const integer = BigInt(value);
    const word = BigInt.asUintN(bits, integer);
    if (word === integer || BigInt.asIntN(bits, integer) === integer) return word;
    throw this.#refused(
      RangeError,
      `argument ${index}, ${
        hex(integer)
      }, does not fit ${bits} bits. Give a wider one as several, the lowest first`,
    );
  }

  /** A label's offset in the data segment. */
  #pointer(label: string): bigint {
    const { ds } = this.runner.parts.cpu.registers;
    const offset = this.#addressOf(label) - (this.#bits === 64 ? 0n : ds.base);
    if (BigInt.asUintN(this.#bits, offset) === offset) return offset;
    throw this.#refused(RangeError, `the label ${label} does not lie in its data segment`);
  }

  get #width(): number {
    return Number(this.#returns.slice(1));
  }

  #result({ rax, rdx }: Registers): bigint {
    const width = this.#width;
    const bits = BigInt(this.#bits);
    const mask = (1n << bits) - 1n;
    const value = (rdx & mask) << bits | rax & mask;
    return this.#returns.startsWith("i")
      ? BigInt.asIntN(width, value)
      : BigInt.asUintN(width, value);
  }

  /** Whether the CPU could execute the stub, and its `out`. */
  #mayExecute(stub: bigint): boolean {
    const { cpu: { registers, linear } } = this.runner.parts;
    const { cr0, cr4, rflags, ss } = registers;
    if (!cr0.pe) return true;
    if (rflags.vm || ss.dpl !== 0) return false;
    if (!cr0.pg) return true;
    const { result } = linear.walk(stub);
    return "physical" in result && result.executable && !(result.user && cr4.smep);
  }

  #refused<Kind extends Error>(kind: new (message: string) => Kind, why: string): Kind {
    return new kind(`Cannot call ${this.name}: ${why}`);
  }
}

function isList(given: CallInput): given is readonly Address[] {
  return Array.isArray(given);
}

/** Which bits of RSP are the stack pointer, and where its segment begins. */
function stackOf({ ss }: Registers, bits: CodeBits): { mask: bigint; base: bigint } {
  if (bits === 64) return { mask: 2n ** 64n - 1n, base: 0n };
  return { mask: ss.db ? 0xffff_ffffn : 0xffffn, base: ss.base };
}

function isOffset(offset: bigint, limit: number, bits: CodeBits): boolean {
  return bits === 64 || (offset >= 0n && offset <= lastOffset(limit, bits));
}

/** The highest offset in a code segment that a near return reaches. */
function lastOffset(limit: number, bits: CodeBits): bigint {
  return BigInt(bits === 16 ? Math.min(limit, 0xffff) : limit);
}

function wordsOf(values: readonly bigint[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * size);
  values.forEach((value, index) => {
    for (let at = 0; at < size; at++) {
      bytes[index * size + at] = Number(value >> BigInt(8 * at) & 0xffn);
    }
  });
  return bytes;
}

function setMpState({ parts: { vcpu } }: CpuRunner, state: MpState): void {
  vcpu.events.setMpState(mpStateNumber(state));
}
