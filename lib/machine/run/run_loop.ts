import { EXIT_REASON, KVM_EXIT_HYPERV, KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import type { Timers } from "../../devices/timers.ts";
import type { AnswerFields } from "../../kvm/exits/exit.ts";
import type { TimeSlice } from "./interleaving.ts";
import { describeEvent, setEvent } from "../interrupts/system_event.ts";
import { ExitDispatch, type ExitDispatchInit } from "./exit_dispatch.ts";
import type { CoverageExits, DebugControl } from "./guest_debug.ts";
import type { InterruptQueue } from "../interrupts/interrupt_queue.ts";
import type { HaltWatch } from "./activity_state.ts";
import { type PlainEnd, type PlainLoop, type PlainRunInit, runPlain } from "./plain_run.ts";
import type { WriteFollower } from "./run_options.ts";

/** How long a CPU in HLT waits for a device before the time limit is looked at. */
const LONGEST_WAIT_MILLISECONDS = 5;

/** Bytes of an MSR. */
const MSR_SIZE = 8;

// Constants of this module are part of the code that V8 makes; those of another are looked up, and converted, each time.
const IO = EXIT_REASON.IO;
const OUT = KVM_EXIT_IO.OUT;

/** How entering the guest ended: at an exit, at one when the time is over, or without one, for somebody else's turn. */
const AT_EXIT = 0;
const TOO_LATE = 1;
const INTERRUPTED = 2;
/** At a trap of what counts which instructions are executed: it is no exit, and takes no time of a test's clock. */
const TRAPPED = 3;

/** A routine that is being called. */
export interface Routine {
  /** Whether the exit in `kvm_run` is that of its return. */
  readonly hasReturned: boolean;
}

/** What the loop needs of the machine that it drives. */
export interface RunLoopInit extends ExitDispatchInit, PlainRunInit {
  /** The turn of the CPU that runs, where there are several. */
  readonly slice: TimeSlice | undefined;
  readonly debug: DebugControl;
  readonly coverage: CoverageExits | undefined;
  /** Called at each exit, when it is in the log and nobody has answered it. */
  readonly watcher: (() => void) | undefined;
  readonly interrupts: InterruptQueue;
  /** Finds a HLT that is no exit, where the kernel has the local APIC. */
  readonly halt: HaltWatch | undefined;
  /** What devices have planned; undefined where there are none. */
  readonly timers: Timers | undefined;
  /** Whether another thread, or a debugger, may ask for an exit at any time. */
  readonly isKickable: () => boolean;
}

/**
 * The path of every exit: enter the guest once, note the exit, hand it to the device that has its port or
 * address. Nothing here allocates, unless the access is wider than 4 bytes or a handler itself allocates.
 *
 * KVM finishes an IO or MMIO exit at the next `KVM_RUN` only: until then a read has not reached its register.
 * {@linkcode RunLoop.complete} enters the kernel with `immediate_exit` set, which finishes it and runs nothing
 * (Documentation/virt/kvm/api.rst, 5, "kvm_run").
 */
export class RunLoop implements PlainLoop {
  /** Whether a HLT from which a device's timer would wake it is an exit all the same. */
  endsWaiting = false;
  readonly #parts: RunLoopInit;
  readonly #exit: ExitDispatch;
  /** The exit was answered, and KVM has not been told. */
  #incomplete = false;
  /** An exit is in kvm_run that {@linkcode runToExit} has not reported yet. */
  #held = false;
  /** The guest has run into the latest exit of the log, and no further. */
  #atExit = false;
  /** The latest exit is a write of {@linkcode runPlain}, not finished, and nothing has run since. */
  #atPlainWrite = false;
  /** The routine that is being called. */
  #call: Routine | undefined;
  #callReturned = false;
  #wasAtExit = false;
  readonly #finish = () => this.complete();

  /** A loop over one vCPU. */
  constructor(parts: RunLoopInit) {
    this.#parts = parts;
    this.#exit = new ExitDispatch(parts);
  }

  /** Whether the latest exit waits for its answer: a read, a hypercall, a write of an MSR. */
  get unanswered(): boolean {
    return this.#exit.isUnanswered;
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
    return this.#exit.isUnanswered || this.#incomplete || this.#held && !isWhole;
  }

  /** Whether a routine is being called. */
  get isCalling(): boolean {
    return this.#call !== undefined;
  }

  /** Says which routine is being called, so that its return is no exit of the guest's; undefined for none. */
  setCall(call: Routine | undefined): void {
    this.#atPlainWrite = false;
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
    const { coalesced, interrupts, slice, vcpu, vcpu: { kvmRun } } = this.#parts;
    this.#atPlainWrite = false;
    if (vcpu.unfinished !== undefined) this.#goOnUnfinished();
    if (this.#atExit) interrupts.goesOn();
    this.#atExit = false;
    for (;;) {
      const end = this.#held ? this.#atHeld() : this.#enter();
      // Before the exit is noted: the guest made these writes before it.
      coalesced.deliver();
      if (end === TOO_LATE) this.#parts.timeOver();
      if (end === TRAPPED && !this.#parts.hasEvent()) continue;
      if (end === INTERRUPTED || end === TRAPPED) return false;
      this.#held = false;
      if (!this.#isOwnExit()) break;
      const isStep = kvmRun.exitReason === EXIT_REASON.DEBUG;
      if (slice !== undefined && isStep && slice.stepped()) return false;
      if (this.#parts.hasEvent()) return false;
    }
    if (this.#call?.hasReturned) {
      this.#callReturned = true;
      this.#parts.inputs.unlogged(kvmRun.exitReason);
      // The guest goes back to where it stood.
      this.#atExit = this.#wasAtExit;
      this.#incomplete = kvmRun.exitReason === EXIT_REASON.IO;
      return false;
    }
    this.#atExit = true;
    this.#note();
    return true;
  }

  /** See {@linkcode runPlain}. */
  runPlain(follower?: WriteFollower): PlainEnd {
    return runPlain(this, this.#parts, follower);
  }

  /** See {@linkcode PlainLoop.becomesPlain}. */
  becomesPlain(): boolean {
    const { vcpu } = this.#parts;
    if (this.#isPlainStill()) {
      vcpu.unfinished = undefined;
      return true;
    }
    if (vcpu.unfinished !== undefined) this.#goOnUnfinished();
    return !this.#held && !this.#exit.isUnanswered && this.#isPlain();
  }

  /** Whether all is as it was when the guest was last run plainly: nobody has called for attention since. */
  #isPlainStill(): boolean {
    const { vcpu, coalesced } = this.#parts;
    return this.#atPlainWrite && !vcpu.needsAttention && !coalesced.isUsed;
  }

  /** See {@linkcode PlainLoop.holds}. */
  holds(): void {
    this.#atPlainWrite = false;
    this.#atExit = this.#incomplete = false;
    this.#held = true;
  }

  /** See {@linkcode PlainLoop.isInterrupted}. */
  isInterrupted(): boolean {
    this.#atPlainWrite = false;
    this.#atExit = this.#incomplete = false;
    this.#parts.inputs.stopped();
    if (this.#parts.limit.isOver()) this.#parts.timeOver();
    return this.#parts.hasEvent();
  }

  /** See {@linkcode PlainLoop.notes}. */
  notes(): void {
    this.#atPlainWrite = false;
    this.#atExit = true;
    this.#note();
  }

  /** See {@linkcode PlainLoop.standsAtWrite}. */
  standsAtWrite(): void {
    this.#exit.isUnanswered = false;
    this.#atExit = this.#incomplete = this.#atPlainWrite = true;
  }

  /** Whether a port access has nothing to do with anybody but its handler. The vCPU is then ready to run. */
  #isPlain(): boolean {
    const { vcpu, slice, timers, halt, coalesced, debug, interrupts, store } = this.#parts;
    store.flush();
    debug.beforeRun();
    interrupts.beforeRun();
    store.forget();
    vcpu.needsAttention = false;
    // Behind it the machine is reset first, where it goes on at all.
    if (this.#atExit && vcpu.kvmRun.exitReason === EXIT_REASON.SHUTDOWN) return false;
    return slice === undefined && timers === undefined && halt === undefined &&
      this.#parts.watcher === undefined &&
      this.#call === undefined && !this.#parts.hasEvent() && !this.#parts.isKickable() &&
      interrupts.isIdle && debug.isIdle &&
      !coalesced.isUsed;
  }

  /** Notes what was asked for from outside as the CPU's exit: SYSTEM_EVENT, as KVM reports a reset, or INTR. */
  noteSystemEvent(event: number): void {
    this.complete();
    const { vcpu: { kvmRun }, log, inputs } = this.#parts;
    inputs.asked();
    setEvent(kvmRun, event);
    this.#held = false;
    this.#atExit = true;
    this.#note();
    describeEvent(log, event);
  }

  /** Begins anew: the machine was reset, or is as it was at another time, between two instructions. */
  reset({ isAtExit, holdsExit } = { isAtExit: false, holdsExit: false }): void {
    this.#exit.isUnanswered = this.#incomplete = false;
    this.#held = holdsExit;
    this.#atExit = isAtExit;
    this.#parts.vcpu.unfinished = undefined;
    this.#atPlainWrite = false;
  }

  /** Notes HLT as the CPU's exit, where it waits in the kernel. */
  noteHalt(): void {
    this.#parts.inputs.asked(true);
    this.#parts.vcpu.kvmRun.exitReason = EXIT_REASON.HLT;
    this.#atExit = true;
    this.#note();
  }

  /** See {@linkcode ExitDispatch.dispatch}. */
  dispatch(): boolean {
    return this.#exit.dispatch();
  }

  /** See {@linkcode ExitDispatch.answerFields}. */
  answerFields(fields: AnswerFields, answeredBy: string): void {
    this.#exit.answerFields(fields, answeredBy);
  }

  /** See {@linkcode ExitDispatch.answer}. */
  answer(bytes: Uint8Array, answeredBy: string): void {
    this.#exit.answer(bytes, answeredBy);
  }

  /** See {@linkcode ExitDispatch.acknowledge}. */
  acknowledge(answeredBy: string): void {
    this.#exit.acknowledge(answeredBy);
  }

  /**
   * Lets KVM finish the latest exit when the guest goes on, or before anybody looks at what it has done: whoever does that
   * calls {@linkcode Vcpu.unfinished}, as each ioctl of the vCPU does.
   *
   * @param isMemoryViewed Whether the guest's memory is seen without being asked for.
   */
  leaveUnfinished(isMemoryViewed: () => boolean): void {
    const { vcpu, coalesced, store } = this.#parts;
    if (this.#isPlainStill()) {
      vcpu.unfinished = this.#finish;
      return;
    }
    // Of an instruction that reads, the rest may write to memory.
    const isSeen = store.isTouched || coalesced.isUsed || !this.#isWrite && isMemoryViewed();
    if (isSeen || !this.#isIdle) this.complete();
    else if (this.#incomplete && !this.#exit.isUnanswered && !this.#held) {
      vcpu.unfinished = this.#finish;
    }
  }

  /** The guest goes on from an exit that nobody has looked at. What is done before it enters is done behind that exit. */
  #goOnUnfinished(): void {
    if (this.#isIdle) this.#parts.vcpu.unfinished = undefined;
    else this.complete();
  }

  /** Whether nothing is to be done with the vCPU before it runs on. */
  get #isIdle(): boolean {
    return this.#parts.interrupts.isIdle && this.#parts.debug.isIdle;
  }

  /** Whether the latest exit, of an access, is a write. */
  get #isWrite(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const { exitReason } = kvmRun;
    return exitReason === IO
      ? kvmRun.ioDirection === OUT
      : exitReason === EXIT_REASON.MMIO && kvmRun.mmioIsWrite;
  }

  /**
   * Finishes the latest exit in the kernel, so that registers and memory show its outcome. A read without an
   * answer stays as it is.
   */
  complete(): void {
    this.#parts.vcpu.unfinished = undefined;
    if (!this.#incomplete || this.#exit.isUnanswered || this.#held) return;
    this.#incomplete = false;
    const { vcpu, coalesced, inputs } = this.#parts;
    vcpu.needsAttention = true;
    this.#atPlainWrite = false;
    this.#parts.store.flush();
    vcpu.kvmRun.immediateExit = true;
    try {
      // The rest of an access that crosses pages, or the next element of a string: an exit of its own.
      if (this.#runVcpu() === 0) this.#held = true;
    } finally {
      vcpu.kvmRun.immediateExit = false;
    }
    inputs.completed();
    coalesced.deliver();
  }

  /** The exit that is held was not looked at, where {@linkcode runPlain} came to it. */
  #atHeld(): typeof AT_EXIT | typeof TRAPPED {
    if (!this.#parts.coverage?.takesExit()) return AT_EXIT;
    this.#held = false;
    return TRAPPED;
  }

  /** @returns How it ended; an exit is held for later. */
  #enter(): typeof AT_EXIT | typeof TOO_LATE | typeof INTERRUPTED | typeof TRAPPED {
    const { vcpu, limit, halt, coalesced, debug, interrupts, slice, timers, coverage, inputs } =
      this.#parts;
    halt?.reset();
    // KVM notes where a step begins by the registers that it has.
    this.#parts.store.flush();
    debug.beforeRun();
    interrupts.beforeRun();
    this.#incomplete = false;
    limit.entersForExit();
    for (;;) {
      const errno = this.#runVcpu();
      if (errno === 0) break;
      inputs.stopped();
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
        inputs.asked(true);
        vcpu.kvmRun.exitReason = EXIT_REASON.HLT;
        break;
      }
    }
    if (coverage?.takesExit()) return limit.isOverAfterExit() ? TOO_LATE : TRAPPED;
    this.#held = true;
    if (coverage === undefined || !debug.endedStep) timers?.exited();
    return limit.isOverAfterExit() ? TOO_LATE : AT_EXIT;
  }

  /** A run that KVM refuses may have changed registers all the same. */
  #runVcpu(): number {
    try {
      return this.#parts.vcpu.run();
    } finally {
      this.#parts.store.forget();
    }
  }

  /** Whether the exit is there for the harness's own sake, and the guest is to run on as if it were none. */
  #isOwnExit(): boolean {
    const { vcpu: { kvmRun }, debug, interrupts, inputs } = this.#parts;
    const reason = kvmRun.exitReason;
    if (reason === EXIT_REASON.IO || reason === EXIT_REASON.MMIO) return false;
    if (debug.isOwnExit() || interrupts.isOwnExit()) {
      inputs.unlogged(reason);
      return true;
    }
    const isWoken = reason === EXIT_REASON.HLT && this.#isWoken();
    if (isWoken) inputs.unlogged(reason);
    return isWoken;
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
      this.#exit.isUnanswered = !isWrite;
      this.#incomplete = true;
    } else if (reason === EXIT_REASON.MMIO) {
      const isWrite = kvmRun.mmioIsWrite;
      log.add(reason, isWrite, kvmRun.mmioAddress, kvmRun.mmioLength, 1, cpu);
      if (isWrite) log.setValue(kvmRun.mmioLow, kvmRun.mmioHigh);
      this.#exit.isUnanswered = !isWrite;
      this.#incomplete = true;
    } else if (reason === EXIT_REASON.X86_RDMSR || reason === EXIT_REASON.X86_WRMSR) {
      const isWrite = reason === EXIT_REASON.X86_WRMSR;
      log.add(reason, isWrite, kvmRun.msrIndex, MSR_SIZE, 1, cpu);
      if (isWrite) log.setValue(kvmRun.msrLow, kvmRun.msrHigh);
      // A write waits, too: for whether it is a #GP.
      this.#exit.isUnanswered = true;
      this.#incomplete = true;
    } else {
      log.add(reason, false, 0, 0, 0, cpu);
      const isHypercall = reason === EXIT_REASON.HYPERCALL || reason === EXIT_REASON.XEN ||
        (reason === EXIT_REASON.HYPERV && kvmRun.hypervType === KVM_EXIT_HYPERV.HCALL);
      this.#exit.isUnanswered = isHypercall;
      this.#incomplete = isHypercall;
    }
    this.#parts.watcher?.();
  }
}
