import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { goesOn } from "../../kvm/exits/exit_table.ts";
import { answerBytes, isFields, type TestAnswer } from "../exits/answer_bytes.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import { Drive, type DriveInit } from "./drive.ts";
import type { ExitPort } from "../../devices/exit_port.ts";
import type { CpuRunner } from "./cpu_runner.ts";
import { RunEnds } from "./run_ends.ts";
import { RunProgress } from "./run_progress.ts";
import { asyncError, isPromise } from "../../devices/handlers.ts";
import { FaultCatcher } from "../faults/fault_catcher.ts";
import { isInit, SYSTEM_EVENT } from "../interrupts/system_event.ts";
import { checkPending, isForTheTest } from "./pending_events.ts";
import { GuestFaultError, UnhandledExitError } from "./run_errors.ts";
import {
  type CallInput,
  type CallOptions,
  checkCallOptions,
  checkExitsOptions,
  checkRunOptions,
  checkRunOptionsWithoutEnd,
  type ExitFollower,
  type ExitsOptions,
  type ObservedExit,
  type RunOptions,
  type WriteFollower,
} from "./run_options.ts";
import type { Address } from "../../guest/address.ts";
import { RoutineCall } from "./routine_call.ts";
import { NOTED, type PlainEnd, TAKEN } from "./plain_run.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { RunTime } from "./time_limit.ts";
import { ExitIteration, type IterationSteps } from "./exit_iteration.ts";

/** Looks at each exit that a handler takes. */
const EACH: WriteFollower = { by: undefined, takesWrite: () => true, isPassed: () => false };

/** What run control needs of its machine. */
export interface RunControlInit extends DriveInit {
  readonly log: ExitRecorder;
  /** Throws where a run has ended well that would not on hardware. */
  readonly checkStrictly: () => void;
  /** The port by which the guest ends the run with a status, if there is one. */
  readonly exitPort: ExitPort | undefined;
  /** Which `SYSTEM_EVENT` a device, or the test, has asked for, if any has since it was asked last. */
  readonly takeEvent: () => number | undefined;
  /** What the test has planned of devices, and has not come about. */
  readonly pendingOfDevices: () => readonly string[];
  /** Resets the machine, or by INIT its CPUs alone. */
  readonly reset: (isInit: boolean) => void;
}

/**
 * The ways to run a machine's guest: to its end, for an instruction, or exit by exit. It knows the latest exit
 * that test code has seen, and refuses to run a machine that runs.
 */
export class RunControl {
  readonly #parts: RunControlInit;
  /** How far the guest has come. */
  readonly progress: RunProgress;
  readonly #drive: Drive;
  /** Whether the reset of the latest exit is one of the CPUs alone. */
  #isInit = false;
  /** The CPU that runs while the others stand still: for an instruction, or a routine. */
  #alone: CpuRunner | undefined;
  #isStepping = false;

  /** That of one machine, whose guest has not run. */
  constructor(parts: RunControlInit) {
    this.#parts = parts;
    this.progress = new RunProgress(parts);
    this.#drive = new Drive(parts, this.progress);
  }

  /** Whether the guest has been run at all. */
  get hasRun(): boolean {
    return this.progress.hasRun;
  }

  /** See {@linkcode Machine.stop}. */
  stop(): void {
    this.#drive.stopAsked = true;
    for (const { parts: { vcpu } } of this.#parts.runners) vcpu.needsAttention = true;
  }

  /** The exit port, if there is one. */
  get exitPort(): ExitPort | undefined {
    return this.#parts.exitPort;
  }

  /** Begins a run, which may have several parts: a status of an earlier one is none of this one. */
  beginRun(): void {
    this.#parts.exitPort?.beginRun();
  }

  /** See {@linkcode Machine.run}. */
  run(options: RunOptions): Exit {
    checkRunOptions(options);
    const exit = this.#drive.run(options, () => {
      this.beginRun();
      this.#begin(undefined);
      const exit = this.#runToEnd() ?? this.progress.lastHalt();
      this.#parts.ends.check(this.progress.runner.parts.cpu, exit);
      return exit;
    });
    this.checkEnd(options);
    return exit;
  }

  /** See {@linkcode MachineCpu.step}. */
  step(cpu: number, options: RunOptions): Exit {
    checkRunOptionsWithoutEnd(options);
    return this.#drive.run(options, () => this.#runOneInstruction(this.#parts.runners[cpu]));
  }

  /** Checks a call of a routine: see {@linkcode MachineCpu.call}. */
  prepareCall(
    cpu: number,
    routine: Address,
    given: CallInput,
    options: CallOptions,
  ): RoutineCall {
    checkCallOptions(options);
    const { returns, timeout = this.#parts.timeout } = options;
    const runner = this.#parts.runners[cpu];
    this.progress.checkStopped("call a routine");
    this.#parts.ends.checkIsAlive(this.#parts.runners);
    this.#parts.limit.scaled(timeout);
    if (runner.parts.loop.holdsExit) {
      throw new TypeError(
        "Cannot call a routine: the guest is in the middle of an instruction that has more exits. Run it on first, " +
          "by vm.step() or vm.run().",
      );
    }
    return new RoutineCall(runner, routine, given, returns);
  }

  /** Runs a routine until it returns, and gives its result. */
  call(call: RoutineCall, options: CallOptions): bigint {
    const run = () => this.#runAlone(call.runner, () => this.#runToEnd());
    const exit = call.explaining(() => this.#drive.run(options, run));
    if (exit !== undefined) throw call.ended(exit);
    const result = call.finish();
    checkPending([call.runner], this.#parts.pendingOfDevices(), options.pending);
    return result;
  }

  /** See {@linkcode Machine.exits}. */
  exits(options: ExitsOptions): ExitIteration {
    checkExitsOptions(options, this.#parts.runners.length);
    const { call, cpus: [first] = [0], timeout } = options;
    if (call !== undefined) {
      const { routine, given = {} } = call;
      return this.#exitsOf(this.prepareCall(first, routine, given, { timeout }), options);
    }
    const steps = this.#steps(options);
    let latest: ObservedExit | undefined;
    let hasBegun = false;
    return new ExitIteration({
      next: () => {
        if (!hasBegun) this.beginRun();
        hasBegun = true;
        latest = steps.next();
        if (latest === undefined) this.checkEnd(options);
        return latest;
      },
      end: (why) => {
        steps.end(why);
        if (why !== "left" || latest === undefined) return;
        this.#isParked(latest.exit);
        this.#parts.scheduler?.leave();
      },
    });
  }

  /** Checks, at the end of a run with these options, what was injected, and what an emulator has forgiven. */
  checkEnd({ pending, cpus }: Pick<ExitsOptions, "pending" | "cpus">): void {
    const { runners } = this.#parts;
    if (isForTheTest(this.progress.runner.lastExit)) return;
    checkPending(
      cpus?.map((number) => runners[number]) ?? runners,
      this.#parts.pendingOfDevices(),
      pending,
    );
    this.#parts.checkStrictly();
  }

  /** The exits of a part of a run, whose end says nothing of what was injected: see {@linkcode checkPending}. */
  observe(options: ExitsOptions, follower?: ExitFollower): ExitIteration {
    return new ExitIteration(this.#steps(options, follower));
  }

  #steps(options: ExitsOptions, follower?: ExitFollower): IterationSteps {
    const { ends } = this.#parts;
    const { progress } = this;
    const body = () => this.#observeOne(options, follower);
    let time: RunTime | undefined;
    let latest: ObservedExit | undefined;
    return {
      next: () => {
        if (time === undefined) {
          this.#begin(options.cpus);
          time = this.#drive.timeOf(options);
        } else if (latest === undefined || this.#isLast(latest)) return undefined;
        latest = this.#drive.goOn(options, time, body);
        if (latest === undefined && progress.halt !== undefined) {
          ends.check(progress.runner.parts.cpu, progress.halt);
        }
        return latest;
      },
      end: (why) => this.#drive.leave(time, why),
    };
  }

  /** Whether nothing comes behind an exit that test code has seen. */
  #isLast(observed: ObservedExit): boolean {
    const { ends } = this.#parts;
    const { cpu } = this.progress.runner.parts;
    const { exit, fault } = observed;
    ends.checkIsForeseen(cpu, observed);
    const isEnd = fault !== undefined ||
      !(goesOn(exit) || this.#isParked(exit) || ends.isRestart(observed));
    if (!isEnd && !this.#drive.stopAsked) return false;
    ends.check(cpu, exit);
    return true;
  }

  #exitsOf(call: RoutineCall, { before, timeout, pending }: ExitsOptions): ExitIteration {
    const { runner } = call;
    const { ends } = this.#parts;
    const body = () => this.#runAlone(runner, () => this.#observe(before));
    let isEntered = false;
    let time: RunTime | undefined;
    let latest: ObservedExit | undefined;
    return new ExitIteration({
      next: () => {
        if (latest === undefined) {
          this.progress.checkStopped("call a routine");
          call.enter();
          isEntered = true;
        } else {
          const { exit } = latest;
          call.explaining(() => ends.checkIsForeseen(this.progress.runner.parts.cpu, latest!));
          if (this.#drive.stopAsked) throw call.ended(exit);
        }
        latest = call.explaining(() =>
          this.#drive.goOn({ timeout }, time ??= this.#drive.timeOf({ timeout }), body)
        );
        if (latest === undefined) {
          call.finish();
          checkPending([runner], this.#parts.pendingOfDevices(), pending);
        }
        return latest;
      },
      end: (why) => {
        using _call = isEntered ? call : undefined;
        this.#drive.leave(time, why);
      },
    });
  }

  /** See {@linkcode Machine.answer}. */
  answer(value: TestAnswer): void {
    if (this.progress.isRunning) {
      throw new TypeError(
        "Cannot answer an exit: the machine is running. A handler answers with what it returns.",
      );
    }
    const runner = this.progress.runner;
    const { loop } = runner.parts;
    if (!loop.unanswered) {
      throw new TypeError("Cannot answer an exit: the latest one is not a read that waits for it");
    }
    // Where a handler threw, the test has not seen it.
    const exit = runner.seeLatest();
    if (isFields(value, exit)) loop.answerFields(value, "the test");
    else loop.answer(answerBytes(value, exit), "the test");
    if (this.#parts.scheduler === undefined) loop.leaveUnfinished(this.#parts.isMemoryViewed);
    else loop.complete();
  }

  #begin(cpus: readonly number[] | undefined): void {
    this.progress.halt = undefined;
    this.#parts.scheduler?.begin(cpus);
  }

  /** Makes what a device has asked for the latest exit. False where none has. */
  #noteEvent(): boolean {
    const { takeEvent, ends } = this.#parts;
    const { loop, vcpu: { kvmRun } } = this.progress.runner.parts;
    const isReset = ends.resetsAtShutdown && loop.isAtExit &&
      kvmRun.exitReason === EXIT_REASON.SHUTDOWN;
    const event = isReset ? SYSTEM_EVENT.RESET : takeEvent();
    // KVM has no exit for INIT: what it reports is a reset of all.
    this.#isInit = event !== undefined && isInit(event);
    if (event === undefined) return false;
    loop.noteSystemEvent(event);
    return true;
  }

  /** Whether the guest begins again behind the exit; resets the machine then. */
  #beginsAgain(exit: Exit): boolean {
    const { ends, log } = this.#parts;
    // A routine that is being called never returns behind a reset.
    const isCall = this.#alone !== undefined && !this.#isStepping;
    if (isCall || !ends.goesOnByReset(exit, log)) return false;
    this.#resetIfAsked();
    return true;
  }

  /** Resets the machine where the latest exit says so. */
  #resetIfAsked(): void {
    const { loop, vcpu: { kvmRun } } = this.progress.runner.parts;
    const isAsked = kvmRun.exitReason === EXIT_REASON.SYSTEM_EVENT &&
      kvmRun.systemEventType === SYSTEM_EVENT.RESET;
    if (!loop.isAtExit || !isAsked) return;
    this.#parts.reset(this.#isInit);
    this.#parts.scheduler?.reset();
    this.progress.runner = this.#parts.runners[0];
  }

  /** Runs the guest until its next exit. False where no CPU is left that could have one, or a call has returned. */
  #runToExit(): boolean {
    const { scheduler } = this.#parts;
    const only = this.#alone ?? (scheduler === undefined ? this.progress.runner : undefined);
    if (this.#noteEvent()) return true;
    if (only !== undefined) {
      const { loop } = only.parts;
      // With others beside it a CPU's loop ends at each signal; any ends where a device's timer has asked for an event.
      while (!loop.runToExit()) {
        if (loop.callReturned) return false;
        if (this.#noteEvent()) return true;
      }
      return true;
    }
    const runner = scheduler!.runToExit();
    if (runner === undefined) return this.#noteEvent();
    this.progress.runner = runner;
    return true;
  }

  /** Undefined where no CPU is left that could have an exit, or the call has returned. */
  #runToEnd(): Exit | undefined {
    for (;;) {
      const latest = this.progress.runner;
      const end = this.#runPlain();
      if (end !== undefined && this.#drive.stopAsked) return latest.seeLatest();
      if (end !== NOTED && !latest.parts.loop.unanswered && !this.#runToExit()) return undefined;
      const runner = this.progress.runner;
      runner.checkIsGuests();
      const { loop, cpu, vcpu: { kvmRun } } = runner.parts;
      const fault = this.#caught();
      if (fault !== undefined) throw new GuestFaultError(cpu, fault);
      // The end of a step is no exit of the guest's: no handler takes it.
      const isStep = this.#isStepping && kvmRun.exitReason === EXIT_REASON.DEBUG;
      const isShutdown = kvmRun.exitReason === EXIT_REASON.SHUTDOWN;
      if (isShutdown) runner.seeLatest();
      if (!isStep && loop.dispatch()) {
        this.#resetIfAsked();
        if (!this.#drive.stopAsked) {
          if (isShutdown) RunEnds.checkIsRevived(runner);
          continue;
        }
        return runner.seeLatest();
      }
      const exit = runner.seeLatest();
      if (this.#alone === undefined && this.#isParked(exit)) continue;
      if (this.#beginsAgain(exit)) continue;
      if (this.#parts.ends.isWanted(exit)) {
        this.#resetIfAsked();
        return exit;
      }
      loop.complete();
      throw new UnhandledExitError(cpu, exit);
    }
  }

  /** See {@linkcode CpuRunner.runPlain}. */
  #runPlain(follower?: WriteFollower): PlainEnd | undefined {
    const isPlain = this.#alone === undefined && !this.#drive.stopAsked;
    return isPlain ? this.progress.runner.runPlain(follower) : undefined;
  }

  #runOneInstruction(runner: CpuRunner): Exit {
    const { debug } = runner.parts;
    // An exit that waits for its answer holds up the whole machine.
    const latest = this.progress.runner;
    if (latest !== runner && latest.parts.loop.unanswered && !latest.parts.loop.dispatch()) {
      throw new UnhandledExitError(latest.parts.cpu, latest.lastExit!);
    }
    this.#isStepping = true;
    debug.step(true);
    try {
      return this.#runAlone(runner, () => this.#runToEnd())!;
    } finally {
      this.#isStepping = false;
      debug.step(false);
    }
  }

  /** Runs one CPU while the others stand still. */
  #runAlone<Result>(runner: CpuRunner, body: () => Result): Result {
    this.#parts.scheduler?.seize(runner);
    this.progress.runner = this.#alone = runner;
    try {
      return body();
    } finally {
      this.#alone = undefined;
    }
  }

  /** Takes a CPU that has halted out of the run. False where it is no HLT, or no other CPU is left. */
  #isParked(exit: Exit): boolean {
    if (exit.reason !== "HLT" || this.#parts.scheduler === undefined) return false;
    this.progress.halt = exit;
    return this.#parts.scheduler.park(this.progress.runner);
  }

  /** The fault that the latest exit reports, where it is one of the guest's fault catcher. */
  #caught(): CaughtFault | undefined {
    const { catcher, loop, debug, vcpu: { kvmRun } } = this.progress.runner.parts;
    if (catcher === undefined || !FaultCatcher.isCandidate(kvmRun)) return undefined;
    const { vector } = catcher;
    // An exit of the guest's own is completed when it has been handled: that overwrites `kvm_run`.
    if (vector === undefined) return undefined;
    this.progress.runner.see(kvmRun.exit());
    loop.complete();
    const fault = catcher.catch(vector, debug.isSingleStepping);
    this.#parts.log.setFault(fault.summary);
    return this.progress.runner.lastFault = fault;
  }

  /** The next exit that somebody looks at. */
  #observeOne(
    { before }: ExitsOptions,
    follower: ExitFollower | undefined,
  ): ObservedExit | undefined {
    for (;;) {
      this.#answerLatest();
      const plain = follower ?? (before === undefined ? EACH : undefined);
      const end = plain && this.#runPlain(plain);
      const isThere = end === NOTED || end === TAKEN;
      if (!isThere && !this.#runToExit()) return undefined;
      const { runner } = this.progress;
      if (end === TAKEN && follower === undefined) return this.#observed(runner.seeLatest());
      if (follower !== undefined && (end === TAKEN || runner.isTakenBy(follower))) {
        const isLooked = runner.parts.loop.unanswered || this.#drive.stopAsked;
        if (!isLooked && follower.isPassed()) continue;
        return this.#observed(runner.seeLatest());
      }
      const observed = this.#look(before);
      const isAnswered = observed.answeredBy !== undefined && observed.fault === undefined;
      const isOver = !isAnswered || !goesOn(observed.exit) || this.#drive.stopAsked;
      if (isOver || follower?.isPassed() !== true) return observed;
    }
  }

  /** Has the machine's devices answer the latest exit, where nobody has. */
  #answerLatest(): void {
    const { parts: { loop, cpu }, lastExit } = this.progress.runner;
    if (loop.unanswered && !loop.dispatch()) throw new UnhandledExitError(cpu, lastExit!);
  }

  /** The next exit; undefined where no CPU is left that could have one. */
  #observe(before: ExitsOptions["before"]): ObservedExit | undefined {
    this.#answerLatest();
    return this.#runToExit() ? this.#look(before) : undefined;
  }

  /** The latest exit, of which nobody has been told. */
  #look(before: ExitsOptions["before"]): ObservedExit {
    const { runner } = this.progress;
    runner.checkIsGuests();
    const { loop, cpu } = runner.parts;
    const exit = runner.seeLatest();
    const fault = this.#caught();
    const answer = before?.(exit, fault, cpu.number);
    if (isPromise(answer)) throw asyncError(answer, "iterate exits with an async `before`");
    if (answer?.bytes !== undefined) loop.answer(answer.bytes, answer.by);
    else if (answer?.fields !== undefined) loop.answerFields(answer.fields, answer.by);
    else if (fault !== undefined) {
      if (answer !== undefined) loop.acknowledge(answer.by);
    } else {
      loop.dispatch();
      if (answer !== undefined) loop.acknowledge(answer.by);
    }
    if (!this.#beginsAgain(exit) && this.#parts.ends.isWanted(exit)) this.#resetIfAsked();
    return this.#observed(exit, fault);
  }

  #observed(exit: Exit, fault?: CaughtFault): ObservedExit {
    const { log } = this.#parts;
    const { number: cpu } = this.progress.runner.parts.cpu;
    const { total: number, answeredBy, description, value } = log;
    return { number, cpu, exit, fault, answeredBy, description, value };
  }
}
