import { exceptionOf } from "../../x86/exceptions/exceptions.ts";
import { ERRNO } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { EXIT_REASON, KVM_EXIT_IO, KVM_GUESTDBG } from "../../kvm/abi/mod.ts";
import { IOCTLS } from "../../kvm/abi/ioctls.ts";
import { kvm_guest_debug } from "../../kvm/abi/structs/registers.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { executionBreakpoints } from "../../x86/registers/debug_registers.ts";
import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Board } from "../board.ts";
import type { Cpu } from "../cpu.ts";
import type { ExitRecord } from "../exits/exit_log.ts";
import type { Input } from "../exits/input_record.ts";
import { littleEndianInteger } from "../exits/answer_bytes.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import { exitText, recordText } from "../report/exit_text.ts";
import {
  type CpuProgress,
  isProgress,
  isTurn,
  type Progress,
  type Turn,
  turnsOf,
} from "./turns.ts";
import { MSR_FILTER, pointBehind } from "./msr_filter.ts";
import { SpinWatch } from "../run/spin_watch.ts";
import { RunTime, TimeLimit } from "../run/time_limit.ts";

/** How often a guest that may wait in the kernel is looked at, in milliseconds. */
const LOOK_MILLISECONDS = 1;

/** How long a CPU runs at most whose turn was before another's, in milliseconds. */
const ASIDE_MILLISECONDS = 20;

/** The ioctl that says where a guest stops. */
const SET_DEBUG = "KVM_SET_GUEST_DEBUG";

/** The breakpoints of DR0 to DR3, by their bits in DR6 and where DR7 enables them (Intel SDM Vol. 3B, 17.2.3 and 17.2.4). */
const BREAKPOINTS = [0n, 1n, 2n, 3n].map((n) => ({ hit: 1n << n, enabled: 3n << 2n * n }));

const NMI = exceptionOf("NMI").vector;

/** Why a run cannot be repeated, or not to its end: a clause. */
export class RepeatError extends Error {}

/** What is repeated. */
export interface RunToRepeat {
  /** The machine whose run it is: its log, and what came to its guest from outside. */
  readonly original: Board;
  /** Makes another machine of the same kind, whose guest is as it was booted, without devices and handlers. */
  readonly boot: () => Board;
  /** The C library that every call goes through. */
  readonly libc: Libc;
}

/** A run that is made once more, on a machine of its own. */
export class RepeatedRun implements Disposable {
  /** The machine. */
  readonly board: Board;
  /** How many exits the log would have by now. */
  exit: number;
  /** Whether something came to the guest at a time of which nobody knows which instruction it was. */
  isLate = false;
  /** Called before each instruction: the guest is stepped then. */
  visit: (() => void) | undefined;
  /** Called before something comes from outside, and behind it. */
  beforeInput: (() => void) | undefined;
  /** See {@linkcode RepeatedRun.beforeInput}. */
  behindInput: (() => void) | undefined;
  /** The event that was handed to KVM and is delivered when the guest goes on. */
  interrupt: Incident["interrupt"];
  readonly #libc: Libc;
  readonly #limit: TimeLimit;
  readonly #records: ReadonlyMap<number, ExitRecord>;
  readonly #inputs: readonly Exclude<Input, Turn>[];
  readonly #answers: Uint32Array;
  #nextInput = 0;
  #nextAnswer = 0;
  /** How many of the next input's exits have come. */
  #unlogged = 0;
  /** `struct kvm_guest_debug`: what stopped the guest by then, and whether KVM knows of that alone. */
  #debug: Uint8Array<ArrayBuffer> = new Uint8Array(kvm_guest_debug.size);
  #isDebugTold = true;
  /** How far each CPU has come, by number. */
  readonly #progress: readonly CpuProgress[];
  /** The number of the CPU that runs. */
  #current = 0;
  /** By the number of the exit before: whose the next exit is, and who was interrupted before that. */
  readonly #turns: ReturnType<typeof turnsOf>;
  /** Behind which exit the turn was given. */
  #turnGiven = -1;

  /**
   * A machine that stands where the run began.
   *
   * @param milliseconds How long it may take.
   * @throws {RepeatError} When the run was not recorded, or cannot be repeated.
   */
  constructor({ original, boot, libc }: RunToRepeat, milliseconds: number) {
    const { inputs, log, start } = original;
    if (inputs.obstacle !== undefined) throw new RepeatError(inputs.obstacle);
    this.#inputs = inputs.inputs.filter((input): input is Exclude<Input, Turn> => !isTurn(input));
    this.#turns = turnsOf(inputs.inputs);
    this.#answers = inputs.answers.slice();
    this.#records = new Map(log.records().map((record) => [record.number, record]));
    this.exit = inputs.firstExit;
    this.#libc = libc;
    using cleanup = new DisposableStack();
    this.board = cleanup.use(boot());
    if (start !== undefined) this.board.snapshots.enter(start);
    this.#progress = this.board.cpus.map(() => ({ isCompleted: true, holdsExit: false }));
    this.#limit = cleanup.use(new TimeLimit(libc, LOOK_MILLISECONDS));
    this.#limit.start(new RunTime(milliseconds));
    cleanup.move();
  }

  /** The CPU that has made the latest exit, or is about to make the next one. */
  get cpu(): Cpu {
    return this.board.cpus[this.#current];
  }

  /** The same in KVM. */
  get vcpu(): Vcpu {
    return this.cpu.vcpu;
  }

  /** Whether only one CPU has run. */
  get isOfOneCpu(): boolean {
    return this.#turns.values().every(({ cpu = 0, interrupted }) =>
      cpu === 0 && interrupted.every((each) => each === 0)
    );
  }

  /** Runs the guest until the log would have so many exits, and what came before it ran on has come. */
  runTo(exit: number): void {
    for (;;) {
      this.#takeInputs();
      if (this.exit === exit) return;
      this.advance();
    }
  }

  /** The same, without what came behind the last of them. */
  runUpTo(exit: number): void {
    while (this.exit < exit) {
      this.#takeInputs();
      this.complete();
      this.advance();
    }
    this.complete();
  }

  /** Has KVM finish the latest exit, and run nothing. */
  complete(): void {
    if (this.#state.isCompleted || this.#state.holdsExit) return;
    this.#state.isCompleted = true;
    this.cpu.store.flush();
    const { kvmRun } = this.vcpu;
    kvmRun.immediateExit = true;
    try {
      this.#state.holdsExit = this.vcpu.run() === 0;
    } finally {
      kvmRun.immediateExit = false;
    }
    this.#forgetRegisters();
  }

  /**
   * Enters the guest until its next exit, or to where it was stopped then.
   *
   * @param isWaiting Asked each time that a signal has stopped it: whether it is to be left there.
   */
  enter(isWaiting = () => false): Exit | undefined {
    for (;;) {
      const exit = this.#enterOnce(this.visit, isWaiting);
      if (exit !== "step") return exit;
    }
  }

  /** Executes an instruction. The exit is DEBUG where it was stopped behind it then, and undefined where it is complete. */
  step(): Exit | undefined {
    const exit = this.#enterOnce(() => {}, () => false);
    return exit === "step" ? undefined : exit;
  }

  #enterOnce(visit: (() => void) | undefined, isWaiting: () => boolean): Exit | "step" | undefined {
    if (this.#state.holdsExit) {
      this.#state.holdsExit = false;
      return this.vcpu.kvmRun.exit();
    }
    const isVisit = visit !== undefined && !this.#isStoppedHere;
    if (isVisit) visit();
    this.#state.isCompleted = false;
    this.interrupt = undefined;
    this.cpu.store.flush();
    this.#tell(isVisit);
    try {
      for (;;) {
        const errno = this.vcpu.run();
        if (errno === 0) {
          const exit = this.vcpu.kvmRun.exit();
          // DR6 may have the bits of breakpoints that are not enabled, too.
          const isStep = exit.reason === "DEBUG" && !this.isStepped && isVisit &&
            !BREAKPOINTS.some(({ hit, enabled }) => exit.dr6 & hit && exit.dr7 & enabled);
          return isStep ? "step" : exit;
        }
        if (this.#limit.isOver()) {
          throw new RepeatError(
            `it took longer than ${this.#limit.milliseconds} ms, from its start to behind exit ${this.exit}`,
          );
        }
        if (errno === ERRNO.EINTR && isWaiting()) return undefined;
      }
    } finally {
      if (!this.#isDebugTold) this.#setDebug();
      this.#forgetRegisters();
    }
  }

  #setDebug(): void {
    const { control, arch: { debugreg } } = this.#stops;
    this.vcpu.setGuestDebug(control, debugreg);
    this.#isDebugTold = true;
  }

  /** Whether the test has stepped the guest by then. */
  get isStepped(): boolean {
    return (this.#stops.control & KVM_GUESTDBG.SINGLESTEP) !== 0;
  }

  get #stops(): ReturnType<typeof kvm_guest_debug.read> {
    return kvm_guest_debug.read(new DataView(this.#debug.buffer));
  }

  /** Whether the guest was stopped before the next instruction then: it executes none. */
  get #isStoppedHere(): boolean {
    const { control, arch: { debugreg } } = this.#stops;
    return (control & KVM_GUESTDBG.USE_HW_BP) !== 0 &&
      executionBreakpoints(debugreg).includes(linearInstructionPointer(this.cpu.registers));
  }

  /** Says anew what is to stop the guest: KVM drops TF where it has emulated an instruction. */
  #tell(isStep: boolean): void {
    const { control, arch: { debugreg } } = this.#stops;
    const steps = isStep ? KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP : 0;
    if ((control | steps) === 0) return;
    this.vcpu.setGuestDebug(control | steps, debugreg);
    this.#isDebugTold = (control | steps) === control;
  }

  /** Ends its clock, whose signals interrupt whatever this thread does: it is only looked at from now on. */
  rest(): void {
    this.#limit.stop();
  }

  /** Starts it again. */
  resume(milliseconds: number): void {
    this.#limit.start(new RunTime(milliseconds));
  }

  /** Ends the machine. */
  [Symbol.dispose](): void {
    this.rest();
    this.#limit[Symbol.dispose]();
    this.board[Symbol.dispose]();
  }

  #forgetRegisters(): void {
    this.cpu.store.forget();
  }

  /** The next thing that came from outside, where it came behind as many exits as there are. */
  get #input(): Exclude<Input, Turn> | undefined {
    const input = this.#inputs[this.#nextInput];
    return input?.exit === this.exit ? input : undefined;
  }

  /** Takes what came before the guest ran on. */
  #takeInputs(): void {
    for (let input = this.#input; input !== undefined; input = this.#input) {
      if (isProgress(input)) break;
      this.#nextInput++;
      if (input.isCompleted) this.complete();
      this.isLate ||= input.isLate;
      this.beforeInput?.();
      this.#take(input);
      this.behindInput?.();
    }
    this.#giveTurn();
  }

  /** Has the CPU be the one that runs whose the next exit is, once those have come as far that ran before it. */
  #giveTurn(): void {
    const turn = this.#turns.get(this.exit);
    if (turn === undefined || this.#turnGiven === this.exit) return;
    this.#turnGiven = this.exit;
    const { cpu = this.#current, interrupted } = turn;
    for (const other of interrupted) if (other !== cpu) this.#runAside(other);
    this.#switch(cpu);
  }

  #switch(cpu: number): void {
    if (cpu === this.#current) return;
    this.complete();
    this.#current = cpu;
    this.#takeStart();
  }

  /** Has the CPU take the INIT and the SIPI that have come for it: asking for its state does. */
  #takeStart(): void {
    this.cpu.store.flush();
    this.vcpu.events.getMpState();
    this.#forgetRegisters();
  }

  /** Runs a CPU until it waits, spins, or has an exit, which is kept until its turn. */
  #runAside(cpu: number): void {
    this.#switch(cpu);
    const state = this.#state;
    if (state.holdsExit) return;
    state.isCompleted = false;
    const end = performance.now() + ASIDE_MILLISECONDS;
    const spin = new SpinWatch(() => this.cpu.store.view("general"));
    this.cpu.store.flush();
    spin.begin();
    let hasMoved = false;
    for (let isOver = false; !isOver;) {
      state.holdsExit = this.vcpu.run() === 0;
      this.#forgetRegisters();
      if (state.holdsExit || this.cpu.mpState !== "RUNNABLE") return;
      const isSpinning = spin.look() === "spins";
      // One that has not come to run by the first look does not spin.
      if (isSpinning && hasMoved) return;
      hasMoved ||= !isSpinning;
      isOver = performance.now() >= end || this.#limit.isOver();
      this.isLate ||= isOver && !isSpinning;
    }
  }

  get #state(): CpuProgress {
    return this.#progress[this.#current];
  }

  #take(input: Exclude<Input, Progress | Turn>): void {
    const { kvmRun } = this.vcpu;
    switch (input.kind) {
      case "answer":
        return kvmRun.restore(input.bytes);
      case "elements":
        return kvmRun.setIoData(input.bytes);
      case "memory":
      case "allocated":
      case "slots":
        return this.board.takeMemory(input);
      case "ioctl":
        return this.#call(input);
    }
  }

  #call({ taker, name, argument }: Extract<Input, { readonly kind: "ioctl" }>): void {
    const bytes = typeof argument === "number" ? argument : argument.slice();
    if (name === MSR_FILTER) pointBehind(bytes as Uint8Array<ArrayBuffer>, this.#libc);
    else if (IOCTLS[name].references !== undefined) {
      throw new RepeatError(`behind exit ${this.exit} it was given ${name}`);
    }
    const target = taker === "vm" ? this.board.vm : this.board.cpus[taker].vcpu;
    target.call(name, bytes);
    if (taker !== "vm") this.board.cpus[taker].store.forget();
    if (name === SET_DEBUG) {
      if (this.board.cpus.length > 1) throw new RepeatError("one of its several CPUs was stepped");
      this.#debug = bytes as Uint8Array<ArrayBuffer>;
      this.#isDebugTold = true;
    }
    if (name === "KVM_NMI") this.interrupt = { vector: NMI, source: "nmi" };
    if (name === "KVM_INTERRUPT" && typeof argument !== "number") {
      this.interrupt = { vector: argument[0], source: "external" };
    }
    this.#forgetRegisters();
  }

  #toUnlogged(reason: number): void {
    const { kvmRun } = this.vcpu;
    kvmRun.requestInterruptWindow = reason === EXIT_REASON.IRQ_WINDOW_OPEN;
    const exit = this.enter()!;
    kvmRun.requestInterruptWindow = false;
    if (exit.number !== reason) {
      throw new RepeatError(`behind exit ${this.exit} came ${exitText(exit)}`);
    }
  }

  /** Runs the guest to its next exit, or through those that are not in the log. */
  advance(): void {
    const input = this.#input;
    if (input?.kind === "unlogged") {
      for (; this.#unlogged < input.count; this.#unlogged++) this.#toUnlogged(input.reason);
      this.#unlogged = 0;
      this.#nextInput++;
    } else if (input?.kind === "asked") {
      this.#nextInput++;
      if (input.isHalt) this.enter(() => this.cpu.mpState === "HALTED");
      else this.complete();
      this.exit++;
    } else this.#noteExit(this.enter()!);
  }

  /** Whether the next exit of the log is none that KVM makes. */
  get isNextAsked(): boolean {
    return this.#input?.kind === "asked";
  }

  /** Whether the next exit is not in the log, or none that KVM makes. */
  get isNextRecorded(): boolean {
    const input = this.#input;
    return input !== undefined && isProgress(input);
  }

  /** Takes it, with all that came behind it. */
  takeRecorded(): void {
    this.advance();
    this.#takeInputs();
    this.complete();
  }

  /** Takes where the guest stands as the next exit of the log: the test stopped it there. */
  takeStop(): void {
    this.exit++;
    this.#takeInputs();
    this.complete();
  }

  /** Leaves out where the guest was stopped on its way from here to its next exit, if that is all that came meanwhile. */
  forgetStops(): void {
    let next = this.#nextInput;
    const isStop = (input: Input | undefined) =>
      input?.exit === this.exit &&
      (input.kind === "ioctl" && input.name === SET_DEBUG ||
        input.kind === "unlogged" && input.reason === EXIT_REASON.DEBUG);
    while (isStop(this.#inputs[next])) next++;
    if (this.#inputs[next]?.exit === this.exit) return;
    this.#nextInput = next;
    if (this.vcpu.kvmRun.exitReason === EXIT_REASON.DEBUG) this.#state.holdsExit = false;
    if (this.#stops.control === 0) return;
    this.#debug = new Uint8Array(kvm_guest_debug.size);
    this.#setDebug();
  }

  /** Takes an exit as the next one of the log, with all that came behind it. */
  take(exit: Exit): void {
    this.#noteExit(exit);
    this.#takeInputs();
    this.complete();
  }

  #noteExit(exit: Exit): void {
    this.exit++;
    this.#compare(exit);
    this.#answer();
  }

  /** @throws {RepeatError} When the exit is not the one that came then. */
  #compare(exit: Exit): void {
    const record = this.#records.get(this.exit);
    const { kvmRun } = this.vcpu;
    if (record === undefined) return;
    let isSame = record.reason === exit.number;
    if (exit.reason === "IO") {
      isSame &&= record.isWrite === (exit.direction === "out") && record.address === exit.port &&
        record.size === exit.size && record.count === exit.count &&
        (!record.isWrite || record.value === BigInt(kvmRun.ioElement(0, kvmRun.ioSize)));
    } else if (exit.reason === "MMIO") {
      isSame &&= record.isWrite === exit.isWrite && record.address === exit.gpa &&
        record.size === exit.len &&
        (!record.isWrite || record.value === littleEndianInteger(exit.data));
    } else if (exit.reason === "X86_RDMSR" || exit.reason === "X86_WRMSR") {
      isSame &&= record.address === exit.index;
    }
    if (isSame) return;
    throw new RepeatError(
      `it went another way: exit ${this.exit} was ${exitText(exit)} instead of ${
        recordText(record)
      }`,
    );
  }

  /** Answers the latest exit, a read, as it was answered then. */
  #answer(): void {
    const { kvmRun } = this.vcpu;
    const { exitReason } = kvmRun;
    const isPort = exitReason === EXIT_REASON.IO && kvmRun.ioDirection !== KVM_EXIT_IO.OUT;
    const isMmio = exitReason === EXIT_REASON.MMIO && !kvmRun.mmioIsWrite;
    if (!isPort && !isMmio || this.#nextAnswer === this.#answers.length) return;
    const low = this.#answers[this.#nextAnswer++];
    const high = this.#answers[this.#nextAnswer++];
    if (isPort) kvmRun.setIoElement(0, kvmRun.ioSize, low);
    else kvmRun.setMmioWords(low, high);
  }
}
