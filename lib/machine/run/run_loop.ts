import { EXIT_REASON, KVM_EXIT_HYPERV, KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import type { Timers } from "../../devices/timers.ts";
import type { AnswerFields } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { littleEndianInteger } from "../exits/answer_bytes.ts";
import { fits, LIMITS, NUMBER_SIZE, tooWide, UNNAMED } from "../exits/read_value.ts";
import { handlerError } from "../exits/handler_error.ts";
import type { HandlerTable } from "../buses/bus.ts";
import {
  asyncError,
  checkWritten,
  isPromise,
  type MmioHandler,
  type PortHandler,
} from "../../devices/handlers.ts";
import type { CoalescedWrites } from "../buses/coalesced_writes.ts";
import type { TimeSlice } from "./interleaving.ts";
import type { ExitHandlers } from "../exits/exit_handlers.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import { describeEvent, setEvent } from "../interrupts/system_event.ts";
import type { CoverageExits, DebugControl } from "./guest_debug.ts";
import type { InterruptQueue } from "../interrupts/interrupt_queue.ts";
import type { HaltWatch } from "./activity_state.ts";
import type { PortRecorder } from "../buses/port_output.ts";
import type { TimeLimit } from "./time_limit.ts";

const WORD_BITS = 32n;
const LOW_WORD = 0xffff_ffffn;

/** The answer to a write of an MSR that is not refused. */
const ACCEPTED: AnswerFields = {};

/** How long a CPU in HLT waits for a device before the time limit is looked at. */
const LONGEST_WAIT_MILLISECONDS = 5;

/** Bytes of an MSR. */
const MSR_SIZE = 8;

/** How entering the guest ended: at an exit, at one when the time is over, or without one, for somebody else's turn. */
const AT_EXIT = 0;
const TOO_LATE = 1;
const INTERRUPTED = 2;

/** A routine that is being called. */
export interface Routine {
  /** Whether the exit in `kvm_run` is that of its return. */
  readonly hasReturned: boolean;
}

/** What the loop needs of the machine that it drives. */
export interface RunLoopInit {
  readonly vcpu: Vcpu;
  /** The CPU's number. */
  readonly cpu: number;
  /** The turn of the CPU that runs, where there are several. */
  readonly slice: TimeSlice | undefined;
  readonly ports: HandlerTable<PortHandler>;
  readonly mmio: HandlerTable<MmioHandler>;
  readonly handlers: ExitHandlers;
  readonly log: ExitRecorder;
  readonly portOutput: PortRecorder;
  readonly limit: TimeLimit;
  readonly debug: DebugControl;
  readonly coverage: CoverageExits | undefined;
  readonly interrupts: InterruptQueue;
  /** Finds a HLT that is no exit, where the kernel has the local APIC. */
  readonly halt: HaltWatch | undefined;
  /** The writes that made no exits. */
  readonly coalesced: CoalescedWrites;
  /** What devices have planned; undefined where there are none. */
  readonly timers: Timers | undefined;
  /** Whether a device has asked for a SYSTEM_EVENT. */
  readonly hasEvent: () => boolean;
  /** Brings registers that the test changed into the vCPU, before it runs. */
  readonly flushRegisters: () => void;
  /** Whether those that the test changed let it run on elsewhere. */
  readonly isMoved: () => boolean;
  /** Forgets registers that were read, after it ran. */
  readonly forgetRegisters: () => void;
  /** Throws the error for a run whose time is over. */
  readonly timeOver: () => never;
}

/**
 * The path of every exit: enter the guest once, note the exit, hand it to the device that has its port or
 * address. Nothing here allocates, unless the access is wider than 4 bytes or a handler itself allocates.
 *
 * KVM finishes an IO or MMIO exit at the next `KVM_RUN` only: until then a read has not reached its register.
 * {@linkcode RunLoop.complete} enters the kernel with `immediate_exit` set, which finishes it and runs nothing
 * (Documentation/virt/kvm/api.rst, 5, "kvm_run").
 */
export class RunLoop {
  /** Whether a HLT from which a device's timer would wake it is an exit all the same. */
  endsWaiting = false;
  readonly #parts: RunLoopInit;
  /** The exit waits for an answer, and nobody has given one. */
  #unanswered = false;
  /** The exit was answered, and KVM has not been told. */
  #incomplete = false;
  /** An exit is in kvm_run that {@linkcode runToExit} has not reported yet. */
  #held = false;
  /** The guest has run into the latest exit of the log, and no further. */
  #atExit = false;
  /** The routine that is being called. */
  #call: Routine | undefined;
  #callReturned = false;
  #wasAtExit = false;

  /** A loop over one vCPU. */
  constructor(parts: RunLoopInit) {
    this.#parts = parts;
  }

  /** Whether the latest exit waits for its answer: a read, a hypercall, a write of an MSR. */
  get unanswered(): boolean {
    return this.#unanswered;
  }

  /**
   * Whether the guest stands at the latest exit of the log: false before the first, and where the time limit
   * stopped it.
   */
  get isAtExit(): boolean {
    return this.#atExit;
  }

  /** Whether the next exit of the guest's has come already: it is in the middle of an instruction. */
  get holdsExit(): boolean {
    return this.#held;
  }

  /** Whether the routine that is being called has returned. */
  get callReturned(): boolean {
    return this.#callReturned;
  }

  /** Whether KVM has still to finish an instruction of the guest's. At the end of a step it has not. */
  get isInMiddle(): boolean {
    const isWhole = this.#parts.vcpu.kvmRun.exitReason === EXIT_REASON.DEBUG;
    return this.#unanswered || this.#incomplete || this.#held && !isWhole;
  }

  /** Whether a routine is being called. */
  get isCalling(): boolean {
    return this.#call !== undefined;
  }

  /** Says which routine is being called, so that its return is no exit of the guest's; undefined for none. */
  setCall(call: Routine | undefined): void {
    this.#call = call;
    this.#callReturned = false;
    this.#wasAtExit = this.#atExit;
  }

  /**
   * Runs the guest until its next exit, and notes it. The latest one must be answered.
   *
   * @returns False where the CPU's turn was over before that, a device's timer has asked for a SYSTEM_EVENT, or the
   *   routine that is being called has returned.
   */
  runToExit(): boolean {
    const { coalesced, interrupts, slice, vcpu: { kvmRun } } = this.#parts;
    if (this.#atExit) interrupts.goesOn();
    this.#atExit = false;
    for (;;) {
      const end = this.#held ? AT_EXIT : this.#enter();
      // Before the exit is noted: the guest made these writes before it.
      coalesced.deliver();
      if (end === TOO_LATE) {
        if (this.#parts.coverage?.takesExit()) this.#held = false;
        this.#parts.timeOver();
      }
      if (end === INTERRUPTED) return false;
      this.#held = false;
      if (!this.#isOwnExit()) break;
      const isStep = kvmRun.exitReason === EXIT_REASON.DEBUG;
      if (slice !== undefined && isStep && slice.stepped()) return false;
      if (this.#parts.hasEvent()) return false;
    }
    if (this.#call?.hasReturned) {
      this.#callReturned = true;
      // The guest goes back to where it stood.
      this.#atExit = this.#wasAtExit;
      this.#incomplete = kvmRun.exitReason === EXIT_REASON.IO;
      return false;
    }
    this.#atExit = true;
    this.#note();
    return true;
  }

  /** Notes what was asked for from outside as the CPU's exit: SYSTEM_EVENT, as KVM reports a reset, or INTR. */
  noteSystemEvent(event: number): void {
    this.complete();
    const { vcpu: { kvmRun }, log } = this.#parts;
    setEvent(kvmRun, event);
    this.#held = false;
    this.#atExit = true;
    this.#note();
    describeEvent(log, event);
  }

  /** Begins anew: the machine was reset, or is as it was at another time, between two instructions. */
  reset({ isAtExit, holdsExit } = { isAtExit: false, holdsExit: false }): void {
    this.#unanswered = this.#incomplete = false;
    this.#held = holdsExit;
    this.#atExit = isAtExit;
  }

  /** Notes HLT as the CPU's exit, where it waits in the kernel. */
  noteHalt(): void {
    this.#parts.vcpu.kvmRun.exitReason = EXIT_REASON.HLT;
    this.#atExit = true;
    this.#note();
  }

  /** Hands the latest exit to the handler that has its port or address. False where there is none. */
  dispatch(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    switch (kvmRun.exitReason) {
      case EXIT_REASON.IO:
        return kvmRun.ioDirection === KVM_EXIT_IO.OUT ? this.#portWrite() : this.#portRead();
      case EXIT_REASON.MMIO:
        return kvmRun.mmioIsWrite ? this.#mmioWrite() : this.#mmioRead();
      default:
        return this.#other();
    }
  }

  /** Answers the latest exit, one that is neither IO nor MMIO, with fields of `kvm_run`. */
  answerFields(fields: AnswerFields, answeredBy: string): void {
    this.#parts.vcpu.kvmRun.answer(fields);
    this.#noteAnswer(answeredBy);
  }

  /** Answers the latest exit, a read, with bytes: one element, or all elements, of a port read. */
  answer(bytes: Uint8Array, answeredBy: string): void {
    const { kvmRun } = this.#parts.vcpu;
    const isMmio = kvmRun.exitReason === EXIT_REASON.MMIO;
    if (isMmio) kvmRun.setMmioData(bytes);
    else kvmRun.setIoData(bytes);
    const first = littleEndianInteger(isMmio ? bytes : bytes.subarray(0, kvmRun.ioSize));
    this.#answered(Number(first & LOW_WORD), Number(first >> WORD_BITS), answeredBy);
  }

  /** Notes that a write, or an exit without data, was foreseen; a read still waits for its answer. */
  acknowledge(answeredBy: string): void {
    if (this.#parts.vcpu.kvmRun.exitReason === EXIT_REASON.X86_WRMSR && this.#unanswered) {
      this.answerFields(ACCEPTED, answeredBy);
    } else if (!this.#unanswered) this.#parts.log.setAnsweredBy(answeredBy);
  }

  /**
   * Finishes the latest exit in the kernel, so that registers and memory show its outcome. A read without an
   * answer stays as it is.
   */
  complete(): void {
    if (!this.#incomplete || this.#unanswered || this.#held) return;
    this.#incomplete = false;
    const { vcpu, coalesced } = this.#parts;
    this.#parts.flushRegisters();
    vcpu.kvmRun.immediateExit = true;
    try {
      // The rest of an access that crosses pages, or the next element of a string: an exit of its own.
      if (this.#runVcpu() === 0) this.#held = true;
    } finally {
      vcpu.kvmRun.immediateExit = false;
    }
    coalesced.deliver();
  }

  /** @returns How it ended; an exit is held for later. */
  #enter(): typeof AT_EXIT | typeof TOO_LATE | typeof INTERRUPTED {
    const { vcpu, limit, halt, coalesced, debug, interrupts, slice, timers } = this.#parts;
    halt?.reset();
    // KVM notes where a step begins by the registers that it has.
    this.#parts.flushRegisters();
    debug.beforeRun();
    interrupts.beforeRun();
    this.#incomplete = false;
    for (;;) {
      const errno = this.#runVcpu();
      if (errno === 0) break;
      coalesced.deliver();
      if (limit.isOver()) this.#parts.timeOver();
      if (timers !== undefined) {
        // A guest that waits in the kernel makes no exits, by which a clock of the test's would go on.
        if (halt?.isWaiting) timers.passToNext(0);
        else timers.expire();
        interrupts.beforeRun();
      }
      if (slice?.interrupted() || this.#parts.hasEvent()) return INTERRUPTED;
      if (halt?.look()) {
        vcpu.kvmRun.exitReason = EXIT_REASON.HLT;
        break;
      }
    }
    this.#held = true;
    timers?.exited();
    return limit.isOverAfterExit() ? TOO_LATE : AT_EXIT;
  }

  /** A run that KVM refuses may have changed registers all the same. */
  #runVcpu(): number {
    try {
      return this.#parts.vcpu.run();
    } finally {
      this.#parts.forgetRegisters();
    }
  }

  /** Whether the exit is there for the harness's own sake, and the guest is to run on as if it were none. */
  #isOwnExit(): boolean {
    const { vcpu: { kvmRun }, debug, interrupts, coverage } = this.#parts;
    const reason = kvmRun.exitReason;
    if (reason === EXIT_REASON.IO || reason === EXIT_REASON.MMIO) return false;
    if (coverage?.takesExit()) return true;
    return debug.isOwnExit() || interrupts.isOwnExit() ||
      (reason === EXIT_REASON.HLT && this.#isWoken());
  }

  /** Whether a device ends the HLT, by what it has planned: that of a CPU that takes interrupts, or by a reset. */
  #isWoken(): boolean {
    const { timers, limit, interrupts, hasEvent, slice } = this.#parts;
    if (hasEvent()) return true;
    // One of several CPUs has no interrupts but from local APICs, and the others go on.
    if (slice !== undefined || this.endsWaiting || timers?.next === undefined) return false;
    if (!interrupts.isEnabled) return false;
    while (timers.next !== undefined && !interrupts.wakes && !hasEvent()) {
      timers.passToNext(LONGEST_WAIT_MILLISECONDS);
      if (limit.isOver()) this.#parts.timeOver();
    }
    return interrupts.wakes || hasEvent();
  }

  #note(): void {
    const { vcpu: { kvmRun }, log, portOutput, cpu } = this.#parts;
    const reason = kvmRun.exitReason;
    if (reason === EXIT_REASON.IO) {
      const isWrite = kvmRun.ioDirection === KVM_EXIT_IO.OUT;
      const port = kvmRun.ioPort;
      const size = kvmRun.ioSize;
      const count = kvmRun.ioCount;
      log.add(reason, isWrite, port, size, count, cpu);
      if (isWrite) {
        log.setValue(kvmRun.ioElement(0, size), 0);
        for (let index = 0; index < count; index++) {
          portOutput.add(port, kvmRun.ioElement(index, size), size);
        }
      }
      this.#unanswered = !isWrite;
      this.#incomplete = true;
    } else if (reason === EXIT_REASON.MMIO) {
      const isWrite = kvmRun.mmioIsWrite;
      log.add(reason, isWrite, kvmRun.mmioAddress, kvmRun.mmioLength, 1, cpu);
      if (isWrite) log.setValue(kvmRun.mmioLow, kvmRun.mmioHigh);
      this.#unanswered = !isWrite;
      this.#incomplete = true;
    } else if (reason === EXIT_REASON.X86_RDMSR || reason === EXIT_REASON.X86_WRMSR) {
      const isWrite = reason === EXIT_REASON.X86_WRMSR;
      log.add(reason, isWrite, kvmRun.msrIndex, MSR_SIZE, 1, cpu);
      if (isWrite) log.setValue(kvmRun.msrLow, kvmRun.msrHigh);
      // A write waits, too: for whether it is a #GP.
      this.#unanswered = true;
      this.#incomplete = true;
    } else {
      log.add(reason, false, 0, 0, 0, cpu);
      const isHypercall = reason === EXIT_REASON.HYPERCALL || reason === EXIT_REASON.XEN ||
        (reason === EXIT_REASON.HYPERV && kvmRun.hypervType === KVM_EXIT_HYPERV.HCALL);
      this.#unanswered = isHypercall;
      this.#incomplete = isHypercall;
    }
  }

  #other(): boolean {
    const { vcpu: { kvmRun }, handlers, log } = this.#parts;
    const handler = handlers.find(kvmRun.exitReason);
    if (handler === undefined) return false;
    const answer = handler.answer(kvmRun);
    if (answer === false) return false;
    const by = handler.name ?? UNNAMED;
    if (isPromise(answer)) throw asyncError(answer, `take exit ${log.total} by ${by}`);
    if (answer === true) this.#noteAnswer(by);
    else if (typeof answer === "object") this.answerFields(answer, by);
    else if (this.#unanswered && kvmRun.exitReason === EXIT_REASON.X86_WRMSR) {
      this.answerFields(ACCEPTED, by);
    } else if (this.#unanswered) {
      throw handlerError(
        new TypeError(
          `Cannot go on from exit ${log.total}: its guest waits for an answer, and ${by} returned none. ` +
            "The exit still waits: the machine can be run on once its handler returns one.",
        ),
      );
    } else log.setAnsweredBy(by);
    return true;
  }

  /** The answer is in `kvm_run`. */
  #noteAnswer(answeredBy: string): void {
    const { vcpu: { kvmRun }, log } = this.#parts;
    this.#checkStandsThere();
    this.#unanswered = false;
    log.setAnsweredBy(answeredBy);
    const { exitReason } = kvmRun;
    const isRead = exitReason === EXIT_REASON.X86_RDMSR;
    if (!isRead && exitReason !== EXIT_REASON.X86_WRMSR) return;
    if (kvmRun.msrError !== 0) log.setFaulted();
    else if (isRead) log.setValue(kvmRun.msrLow, kvmRun.msrHigh);
  }

  #portWrite(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const port = kvmRun.ioPort;
    const handler = this.#parts.ports.writer(port);
    if (handler?.write === undefined) return false;
    this.#parts.log.setAnsweredBy(handler.name ?? UNNAMED);
    const size = kvmRun.ioSize;
    const count = kvmRun.ioCount;
    for (let index = 0; index < count; index++) {
      checkWritten(handler.write(port, kvmRun.ioElement(index, size), size), handler);
    }
    return true;
  }

  #portRead(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const port = kvmRun.ioPort;
    const handler = this.#parts.ports.reader(port);
    if (handler?.read === undefined) return false;
    const size = kvmRun.ioSize;
    const count = kvmRun.ioCount;
    let first = 0;
    for (let index = 0; index < count; index++) {
      const value = handler.read(port, size);
      if (isPromise(value)) throw asyncError(value, `answer a read by ${handler.name ?? UNNAMED}`);
      if (typeof value !== "number" || !fits(value, size)) {
        throw tooWide("port", port, value, size, handler.name);
      }
      kvmRun.setIoElement(index, size, value);
      if (index === 0) first = value;
    }
    this.#answered(first, 0, handler.name ?? UNNAMED);
    return true;
  }

  #mmioWrite(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const address = kvmRun.mmioAddress;
    const handler = this.#parts.mmio.writer(address);
    if (handler?.write === undefined) return false;
    this.#parts.log.setAnsweredBy(handler.name ?? UNNAMED);
    const size = kvmRun.mmioLength;
    const low = kvmRun.mmioLow;
    const value = size <= NUMBER_SIZE ? low : BigInt(kvmRun.mmioHigh) << WORD_BITS | BigInt(low);
    checkWritten(handler.write(address, value, size), handler);
    return true;
  }

  #mmioRead(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const address = kvmRun.mmioAddress;
    const handler = this.#parts.mmio.reader(address);
    if (handler?.read === undefined) return false;
    const size = kvmRun.mmioLength;
    const value = handler.read(address, size);
    if (isPromise(value)) throw asyncError(value, `answer a read by ${handler.name ?? UNNAMED}`);
    if (!fits(value, size)) throw tooWide("address", address, value, size, handler.name);
    const isSmall = typeof value === "number" && value <= LIMITS[NUMBER_SIZE];
    const low = isSmall ? value : Number(BigInt(value) & LOW_WORD);
    const high = isSmall ? 0 : Number(BigInt(value) >> WORD_BITS);
    kvmRun.setMmioWords(low, high);
    this.#answered(low, high, handler.name ?? UNNAMED);
    return true;
  }

  /**
   * KVM finishes an instruction that waits for an answer where RIP is by then: the answer would be lost, or the new
   * RIP.
   *
   * @throws {TypeError} When RIP was set since the exit.
   */
  #checkStandsThere(): void {
    if (!this.#unanswered || !this.#parts.isMoved()) return;
    throw new TypeError(
      `Cannot answer exit ${this.#parts.log.total}: rip, or cs, was set while the instruction waited for its answer, ` +
        "so that KVM would drop one of the two. Answer first, and set rip when the machine has stopped again.",
    );
  }

  #answered(low: number, high: number, answeredBy: string): void {
    this.#checkStandsThere();
    this.#unanswered = false;
    this.#parts.log.setValue(low, high);
    this.#parts.log.setAnsweredBy(answeredBy);
  }
}
