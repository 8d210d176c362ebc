import { ERRNO } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { EXIT_REASON, KVM_EXIT_IO, KVM_GUESTDBG } from "../../kvm/abi/mod.ts";
import { IOCTLS } from "../../kvm/abi/ioctls.ts";
import { kvm_msr_filter } from "../../kvm/abi/structs/msr.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Board } from "../board.ts";
import type { Cpu } from "../cpu.ts";
import type { ExitRecord } from "../exits/exit_log.ts";
import type { Input } from "../exits/input_record.ts";
import { littleEndianInteger } from "../exits/answer_bytes.ts";
import { exitText, recordText } from "../report/exit_text.ts";
import { RunTime, TimeLimit } from "../run/time_limit.ts";

/** How often a guest that may wait in the kernel is looked at, in milliseconds. */
const LOOK_MILLISECONDS = 1;

const U64_SIZE = 8;

/** The only ioctl whose addresses are those of bytes behind its structure. */
const MSR_FILTER = "KVM_X86_SET_MSR_FILTER";

/** The vector of NMI# (Intel SDM Vol. 3A, 6.7). */
const NMI = 2;

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
  /** Its CPU. */
  readonly cpu: Cpu;
  /** The same in KVM. */
  readonly vcpu: Vcpu;
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
  readonly #inputs: readonly Input[];
  readonly #answers: Uint32Array;
  #nextInput = 0;
  #nextAnswer = 0;
  /** Whether KVM has finished the latest exit. */
  #isCompleted = true;
  /** Whether an exit is in `kvm_run` that was not looked at. */
  #holdsExit = false;

  /**
   * A machine that stands where the run began.
   *
   * @param milliseconds How long it may take.
   * @throws {RepeatError} When the run was not recorded, or cannot be repeated.
   */
  constructor({ original, boot, libc }: RunToRepeat, milliseconds: number) {
    const { inputs, log, start } = original;
    if (inputs.obstacle !== undefined) throw new RepeatError(inputs.obstacle);
    if (!original.hasBootSlots) {
      throw new RepeatError("its memory slots were changed since it was booted");
    }
    this.#inputs = inputs.inputs.slice();
    this.#answers = inputs.answers.slice();
    this.#records = new Map(log.records().map((record) => [record.number, record]));
    this.exit = inputs.firstExit;
    this.#libc = libc;
    using cleanup = new DisposableStack();
    this.board = cleanup.use(boot());
    if (start !== undefined) this.board.snapshots.enter(start);
    this.cpu = this.board.cpus[0];
    this.vcpu = this.cpu.vcpu;
    this.#limit = cleanup.use(new TimeLimit(libc, LOOK_MILLISECONDS));
    this.#limit.start(new RunTime(milliseconds));
    cleanup.move();
  }

  /** Runs the guest until the log would have so many exits, and all that came behind the last of them has come. */
  runTo(exit: number): void {
    for (;;) {
      this.#takeInputs();
      if (this.exit === exit) return;
      this.#toNextExit();
    }
  }

  /** The same, without what came behind the last of them. */
  runUpTo(exit: number): void {
    while (this.exit < exit) {
      this.#takeInputs();
      this.complete();
      this.#toNextExit();
    }
    this.complete();
  }

  /** Has KVM finish the latest exit, and run nothing. */
  complete(): void {
    if (this.#isCompleted || this.#holdsExit) return;
    this.#isCompleted = true;
    this.cpu.store.flush();
    const { kvmRun } = this.vcpu;
    kvmRun.immediateExit = true;
    try {
      this.#holdsExit = this.vcpu.run() === 0;
    } finally {
      kvmRun.immediateExit = false;
    }
    this.#forgetRegisters();
  }

  /**
   * Enters the guest until its next exit.
   *
   * @param isWaiting Asked each time that a signal has stopped it: whether it is to be left there.
   */
  enter(isWaiting = () => false): Exit | undefined {
    if (this.#holdsExit) {
      this.#holdsExit = false;
      return this.vcpu.kvmRun.exit();
    }
    this.#isCompleted = false;
    this.cpu.store.flush();
    this.interrupt = undefined;
    try {
      for (;;) {
        if (this.visit !== undefined) this.#beginStep(this.visit);
        const errno = this.vcpu.run();
        if (errno === 0 && this.#endedStep) continue;
        if (errno === 0) return this.vcpu.kvmRun.exit();
        if (this.#limit.isOver()) {
          throw new RepeatError(
            `it took longer than ${this.#limit.milliseconds} ms, from its start to behind exit ${this.exit}`,
          );
        }
        if (errno === ERRNO.EINTR && isWaiting()) return undefined;
      }
    } finally {
      if (this.visit !== undefined) this.vcpu.setGuestDebug(0);
      this.#forgetRegisters();
    }
  }

  #beginStep(visit: () => void): void {
    this.#forgetRegisters();
    visit();
    this.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
  }

  get #endedStep(): boolean {
    return this.visit !== undefined && this.vcpu.kvmRun.exitReason === EXIT_REASON.DEBUG;
  }

  /** Ends its clock, whose signals interrupt whatever this thread does: it is only looked at from now on. */
  rest(): void {
    this.#limit.stop();
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

  #takeInputs(): void {
    for (; this.#inputs[this.#nextInput]?.exit === this.exit; this.#nextInput++) {
      const input = this.#inputs[this.#nextInput];
      if (input.kind === "asked") return;
      if (input.isCompleted) this.complete();
      this.isLate ||= input.isLate;
      this.beforeInput?.();
      this.#take(input);
      this.behindInput?.();
    }
  }

  #take(input: Exclude<Input, { readonly kind: "asked" }>): void {
    const { kvmRun } = this.vcpu;
    switch (input.kind) {
      case "answer":
        return kvmRun.restore(input.bytes);
      case "elements":
        return kvmRun.setIoData(input.bytes);
      case "memory":
        return this.board.writeMemory(input.memory, input.start, input.bytes);
      case "unlogged":
        for (let count = 0; count < input.count; count++) this.#toUnlogged(input.reason);
        return;
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
    const target = taker === "vm" ? this.board.vm : this.vcpu;
    target.call(name, bytes);
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

  #toNextExit(): void {
    if (this.isNextAsked) {
      const input = this.#inputs[this.#nextInput++];
      if (input.kind === "asked" && input.isHalt) this.enter(() => this.cpu.mpState === "HALTED");
      else this.complete();
      this.exit++;
      return;
    }
    this.#noteExit(this.enter()!);
  }

  /** Whether the next exit of the log is none that KVM makes. */
  get isNextAsked(): boolean {
    const input = this.#inputs[this.#nextInput];
    return input?.kind === "asked" && input.exit === this.exit;
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
    if (record.reason === EXIT_REASON.DEBUG) {
      throw new RepeatError(
        `the test has stopped it at exit ${this.exit}, by a step, a breakpoint or gdb: nobody knows where that was`,
      );
    }
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

/** Lets a filter of MSRs point to its bitmaps, which lie behind it, where they are now. */
function pointBehind(bytes: Uint8Array<ArrayBuffer>, libc: Libc): void {
  const view = new DataView(bytes.buffer);
  const { addresses } = IOCTLS[MSR_FILTER].references!;
  const given = addresses.filter((offset) => view.getBigUint64(offset, true) !== 0n);
  if (given.length === 0) return;
  // The first bitmap lies at the first multiple of 8 behind the structure, and the others behind that.
  const data = Math.ceil(kvm_msr_filter.size / U64_SIZE) * U64_SIZE;
  const before = view.getBigUint64(given[0], true);
  const now = libc.addressOf(bytes) + BigInt(data);
  for (const offset of given) {
    view.setBigUint64(offset, view.getBigUint64(offset, true) - before + now, true);
  }
}
