import type { Address } from "../guest/address.ts";
import { timed } from "../guest/time_spent.ts";
import type { MmioHandler, NoPromise, PortHandler } from "../devices/handlers.ts";
import type { Bios } from "../devices/bios/bios.ts";
import type { TextScreen } from "../devices/text_screen.ts";
import type { AnswerFields, Exit, HandledReason } from "../kvm/exits/exit.ts";
import type { Coverage } from "./coverage/coverage.ts";
import type { Board } from "./board.ts";
import type { DeviceBus } from "./buses/device_bus.ts";
import { cpuList } from "./cpu.ts";
import type { ExitHandler, StatefulExitHandler } from "./exits/exit_handlers.ts";
import type { Interrupts } from "./interrupts/interrupts.ts";
import { debugFailure } from "./gdb/debug_failures.ts";
import { type GdbOptions, serveGdb } from "./gdb/serve_gdb.ts";
import { MachineCpuOf } from "./machine_cpu.ts";
import {
  historyOf,
  type LastWriter,
  type PastMachine,
  type TraceOptions,
} from "./postmortem/history.ts";
import { fromCaller, onFailure } from "./run/run_errors.ts";
import { Inputs } from "./snapshot/inputs.ts";
import type { Snapshot } from "./snapshot/snapshot.ts";
import { reportEnd, reportRun } from "./viewer/report_run.ts";
import type { RunControl } from "./run/run_control.ts";
import type { ExitsOptions, ObservedExit, RunOptions } from "./run/run_options.ts";

/** What runs a machine. For matchers, whose runs have parts. */
export let runControlOf: (machine: Machine) => RunControl;

/**
 * Does what is wanted of a test that is about to fail: writes a report, waits for gdb. For matchers.
 *
 * @returns What the test's failure says beside.
 */
export let beforeFailure: (machine: Machine, failure: string) => string;

/** Makes a machine what another was, which was booted in the same way. For forks. */
export let adoptSnapshot: (machine: Machine, snapshot: Snapshot) => void;

/** What gives a machine's guest one input after the other. For fuzzing. */
export let inputsOf: (machine: Machine) => Inputs;

/**
 * A CPU of a machine: {@linkcode Machine.cpus}. A machine is its own CPU 0. What CPUs share, such as memory, each of
 * them has.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov al, 1
 *   hlt
 * second:
 *   mov al, 2
 *   hlt
 * `, { cpus: [{}, { entry: "second" }] });
 * vm.run();
 * expect(vm).toHaveRegisters({ al: 1 });
 * expect(vm.cpus[1]).toHaveRegisters({ al: 2 });
 * ```
 */
export class MachineCpu extends MachineCpuOf<Machine> {}

/**
 * A virtual machine, its memory and its devices, made by {@linkcode boot}. It is stopped whenever test code has
 * control. It is its own CPU 0; {@linkcode Machine.cpus} has the others, if there are any.
 *
 * It holds file descriptors and memory: declare it with `using`. Once disposed, its guest is gone: running
 * it, registers, memory, ports and MMIO throw a `TypeError`. What was recorded stays readable: the log, port
 * output, the serial line's text, the exit status.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov dx, 0x3f8
 *   mov al, '!'
 *   out dx, al
 *   hlt
 * `);
 * const exit = vm.run();
 * console.log(exit.reason, vm.serial.text); // HLT !
 * ```
 */
export class Machine extends MachineCpu implements Disposable {
  /** The CPUs, by number: the first is the machine itself. A number that none has throws a `RangeError`. */
  readonly cpus: readonly [Machine, ...MachineCpu[]];
  readonly #board: Board;
  readonly #inputs: Inputs;

  static {
    inputsOf = (machine) => machine.#inputs;
    beforeFailure = (machine, failure) => {
      const said = machine.#report(failure);
      debugFailure(failure, (options) => {
        machine.#board.examiner?.standAtFault();
        machine.serveGdb(options);
      });
      return said;
    };
    runControlOf = (machine) => machine.#board.runControl;
    adoptSnapshot = (machine, snapshot) => machine.#board.restore(snapshot, true);
  }

  /** Use {@linkcode boot}. Takes ownership of the board, whose CPUs stand where the guest starts. */
  constructor(board: Board) {
    const [first, ...others] = board.cpus;
    super(first, board);
    this.#board = board;
    this.#inputs = new Inputs({
      take: () => board.takeSnapshot(),
      restore: (snapshot) => board.restore(snapshot),
    }, board.runControl.progress);
    const rest = others.map((core) => new MachineCpu(core, board, this));
    onFailure(board, (message) => beforeFailure(this, message));
    this.cpus = cpuList<readonly [Machine, ...MachineCpu[]]>([this, ...rest]);
  }

  /** Itself. */
  override get machine(): Machine {
    return this;
  }

  /** The I/O ports, for handlers. */
  get ports(): DeviceBus<PortHandler> {
    this.checkUsable("use the ports");
    return this.#board.devices.ports;
  }

  /** The physical addresses without memory, for handlers. */
  get mmio(): DeviceBus<MmioHandler> {
    this.checkUsable("use the MMIO addresses");
    return this.#board.devices.mmio;
  }

  /** The interrupt controllers in the kernel. @throws {TypeError} When it has none (the option `irqchip`). */
  get interrupts(): Interrupts {
    this.checkUsable("use the interrupt controllers");
    return this.#board.devices.interrupts;
  }

  /** The text screen among its `devices`. @throws {TypeError} When it has none. */
  get screen(): TextScreen {
    return this.#board.screen;
  }

  /** Whether it has a BIOS among its `devices`. */
  get hasBios(): boolean {
    return this.#board.hasBios;
  }

  /** The BIOS among its `devices`. @throws {TypeError} When it has none. */
  get bios(): Bios {
    return this.#board.bios;
  }

  /**
   * Which lines of the guest were executed so far; readable when it is disposed, too.
   *
   * @throws {TypeError} When the machine was booted without `coverage: true`.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(
   *   asm`
   *     test al, al
   *     jz done
   *     inc al
   *   done:
   *     hlt
   *   `,
   *   { coverage: true },
   * );
   * vm.run();
   * console.log(vm.coverage.lines.filter((line) => !line.isReached).map((line) => line.text)); // [ "inc al" ]
   * ```
   */
  get coverage(): Coverage {
    return this.#board.coverage;
  }

  /** The CPU of the latest exit: in a handler, the one that it answers. CPU 0 before the first. */
  get exitingCpu(): MachineCpu {
    return this.cpus[this.#board.exitingCpu.number];
  }

  /**
   * Runs the guest until it halts, comes to a breakpoint ({@linkcode Machine.debug}), writes to its exit
   * port, or {@linkcode Machine.stop} is called; handlers answer its other exits.
   *
   * With several CPUs it ends when all have halted, and at SHUTDOWN of any: {@linkcode Machine.exitingCpu} is whose it
   * was. One that halts lets the others go on, and goes on itself in the next run. With local APICs, a CPU has halted
   * when it sits in HLT with interrupts disabled; one that could be woken keeps the run going. An exit that nobody
   * answers holds up all of them.
   *
   * @returns The exit that ended the run.
   * A guest that shuts down (a triple fault) has failed, unless it was to: with `until: "shutdown"`, or a handler of
   * SHUTDOWN ({@linkcode Machine.on}).
   *
   * @throws {UnhandledExitError} At an exit that no handler answers, and at SHUTDOWN.
   * @throws {TypeError} When it has shut down already, and its registers were not set since.
   * @throws {GuestFaultError} At a fault that the guest's fault catcher reports.
   * @throws {PendingEventError} When it ends before the guest has taken what was injected ({@linkcode Machine.inject}).
   * @throws {TimeLimitError} When it takes longer than its limit.
   * @throws {KvmError} When KVM refuses to run it.
   */
  run(options: RunOptions = {}): Exit {
    return fromCaller(this.run, () => this.#board.runControl.run(options));
  }

  /**
   * The exits from here on, each as it happens, up to and including the first that cannot be run on from (HLT,
   * SHUTDOWN, a fault, an error); going on behind one that nobody foresaw throws, as `run` does. Handlers answer
   * theirs; a read that nobody answers must be given {@linkcode Machine.answer} before the next.
   *
   * The time limit is for all of them together; it is counted while the guest runs, not while test code has control, to
   * within a sixteenth of it. A loop that is left, by `break`, is gone on with by the next run: CPUs that have halted in it
   * stay so while others go on.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   in  al, 0x42
   *   out 0x43, al
   *   hlt
   * `);
   * for (const { number, exit } of vm.exits()) {
   *   if (exit.reason === "IO" && exit.direction === "in") vm.answer(number);
   * }
   * ```
   */
  exits(options: ExitsOptions = {}): Generator<ObservedExit, void, void> {
    return fromCaller(this.exits, () => this.#board.runControl.exits(options));
  }

  /**
   * Hands exits of a reason to `handler`, until the returned object is disposed; IO and MMIO have their buses.
   * `run` goes on after an exit that it takes.
   *
   * @throws {RangeError} When there is no such reason, or another handler has it.
   * @throws {TypeError} When it is IO or MMIO, or the handler is none.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   hlt
   *   hlt
   *   out 0x80, al
   * `);
   * let halts = 0;
   * vm.on("HLT", () => void halts++);
   * vm.ports.on(0x80, { write: () => vm.stop() });
   * vm.run();
   * console.log(halts); // 2
   * ```
   */
  on<Reason extends HandledReason>(
    reason: Reason,
    handler: ExitHandler<Reason> | StatefulExitHandler<Reason>,
  ): Disposable {
    return fromCaller(this.on, () => {
      this.checkUsable("handle exits");
      return this.#board.handlers.on(reason, handler);
    });
  }

  /**
   * Answers the latest exit, a read that no handler has answered.
   *
   * @param value A number, for one element; the bytes of the whole access; or, for exits that are neither IO
   *   nor MMIO, the fields that they are answered with (`{ ret: 0 }` for a hypercall).
   * @throws {TypeError} When there is nothing to answer, or such an exit is not answered by such a value.
   * @throws {RangeError} When the value does not fit.
   */
  answer(value: number | bigint | Uint8Array | AnswerFields): void {
    fromCaller(this.answer, () => {
      this.checkUsable("answer an exit");
      this.#board.runControl.answer(value);
    });
  }

  /**
   * A word by which another thread kicks the CPUs out of a run, as a monitor does by a signal: 1 that is stored there
   * ends the run, or the next one where there is none. It is 0 again then. The guest is stopped between two instructions,
   * within some milliseconds, and can be run on: `run` returns the exit INTR, and a transcript foresees it by
   * `exit("INTR")`.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`jmp $`);
   * const worker = new Worker(new URL("./kicker.ts", import.meta.url), { type: "module" });
   * worker.postMessage(vm.kick); // there: onmessage = ({ data }) => Atomics.store(data, 0, 1)
   * console.log(vm.run().reason); // INTR
   * ```
   */
  get kick(): Int32Array<SharedArrayBuffer> {
    this.checkUsable("be kicked");
    return this.#board.kick.word;
  }

  /** Ends the run when the handler that calls this returns: `run` then returns that handler's exit. */
  stop(): void {
    this.checkUsable("stop the machine");
    this.#board.runControl.stop();
  }

  /**
   * Keeps all of the machine as it is now: memory, CPUs, controllers, devices, what was recorded. Nothing runs, and nothing
   * is changed; from the first on, KVM notes which pages the guest writes, and later ones copy only those.
   *
   * What of the machine is in it, and what is not, is a table of docs/snapshots.md.
   *
   * @throws {TypeError} When the guest runs, waits for an answer, is in the middle of an instruction that has more exits,
   *   or in a routine that is called; or the machine is disposed.
   * @throws {KvmError} When KVM refuses.
   */
  snapshot(): Snapshot {
    return fromCaller(this.snapshot, () => this.#board.takeSnapshot());
  }

  /**
   * Makes the machine what it was when a snapshot of it was taken: the guest goes on from there, and finds all as it was
   * then. As often as one likes, and in any order. Only pages of memory that may be different are written.
   *
   * What the test has set up stays as it is now: handlers, breakpoints, routes, eventfds, filters. A handler that has state
   * of its own gives it away by `save` and takes it by `restore`, as devices do.
   *
   * An instruction whose exit waits for its answer is given up.
   *
   * @throws {TypeError} When it is no snapshot, or another machine's; the guest runs, or is in a routine that is called; or
   *   the machine is disposed.
   * @throws {RangeError} When the test has added, moved or deleted memory slots since.
   * @throws {KvmError} When KVM refuses.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   inc word [0x900]
   *   hlt
   * `);
   * const start = vm.snapshot();
   * for (let run = 0; run < 3; run++) {
   *   vm.restore(start);
   *   vm.run();
   *   expect(vm).toHaveMemory(0x900, [1, 0]);
   * }
   * ```
   */
  restore(snapshot: Snapshot): void {
    fromCaller(this.restore, () => this.#board.restore(snapshot));
  }

  /**
   * Tries the guest with one input after the other, each from where it stands now: `body` gives the guest its input, in
   * memory, registers or a device's bytes, runs it and asserts. In between the machine is restored, which is far cheaper
   * than booting it. Afterwards the machine is what it was.
   *
   * With `fast-check` it is the body of a property, whose inputs shrink:
   * `fc.property(fc.uint8Array(), (input) => vm.forEachInput([input], …))`.
   *
   * @throws What `body` throws, with the input in its message, as an expression to copy.
   * @throws {TypeError} When there are no inputs; `body` returns a promise, or has not run the guest, so that nothing was
   *   tried; or as {@linkcode Machine.snapshot} does.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   mov al, [0x900]
   *   xor ah, ah
   *   mul al
   *   hlt
   * `);
   * vm.forEachInput([0, 1, 15, 255], (number) => {
   *   vm.memory.write(0x900, [number]);
   *   vm.run();
   *   expect(vm).toHaveRegisters({ ax: number * number });
   * });
   * ```
   */
  forEachInput<Input>(
    inputs: Iterable<Input>,
    body: (input: Input, index: number) => NoPromise,
  ): void {
    fromCaller(this.forEachInput, () => this.#inputs.forEach(inputs, body));
  }

  /**
   * Waits for gdb, which attaches by its remote protocol (`target remote :1234`), and lets it run the guest until it
   * detaches or is gone: the test goes on from where the guest stands then. docs/gdb.md has what gdb can do.
   *
   * @throws {RangeError} When the port is none, or nobody attaches in time.
   * @throws {SystemError} When the port is taken.
   * @throws {TypeError} When the guest runs, or the machine is disposed.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm.file("guests/demo/hello.asm"));
   * vm.serveGdb({ port: 1234 });
   * ```
   */
  serveGdb(options: GdbOptions = {}): void {
    fromCaller(this.serveGdb, () => {
      this.checkUsable("serve gdb");
      this.#board.checkStopped("serve gdb");
      serveGdb({
        machine: this,
        history: historyOf(this.#board),
        interruptWhen: (isAsked) => this.#board.kick.when(isAsked),
      }, options);
    });
  }

  #report(failure?: string): string {
    const { trace } = this.#board;
    return trace === undefined ? "" : reportRun(this, trace, failure);
  }

  /**
   * The machine as it was at an exit, between it and what the guest did next: its run is made once more, on a machine of
   * its own, from what came to it. 0 is where it was booted, or brought by a snapshot.
   *
   * @throws {RangeError} When the run has no such exit.
   * @throws {TypeError} When the run cannot be repeated, with the reason: several CPUs, a guest that asks for the time.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   mov bx, 1
   *   out 0x80, al
   *   mov bx, 2
   *   hlt
   * `, { ports: { 0x80: { write() {} } } });
   * vm.run();
   * using past = vm.at(1);
   * console.log(past.registers.bx, vm.registers.bx); // 1 2
   * using before = past.stepBack();
   * ```
   */
  at(exit: number): PastMachine {
    return fromCaller(this.at, () => historyOf(this.#board).at(exit));
  }

  /** The machine one instruction before its latest exit was complete. Throws as {@linkcode Machine.at} does. */
  stepBack(): PastMachine {
    return fromCaller(this.stepBack, () => historyOf(this.#board).stepBack());
  }

  /**
   * Who changed the byte at a linear address, or a label, last: an instruction of the guest's, or the host; undefined where
   * nobody has. Throws as {@linkcode Machine.at} does.
   */
  lastWriter(address: Address): LastWriter | undefined {
    return fromCaller(this.lastWriter, () => historyOf(this.#board).lastWriter(address));
  }

  /**
   * The instructions that the guest has executed, a line each: address, text, source line, and the registers that it has
   * changed. What is executed in the handler of an exception or an interrupt is not among them.
   *
   * @throws {RangeError} When the guest has not come to `from`, or `steps` is none.
   * @throws {TypeError} As {@linkcode Machine.at} does.
   */
  trace(options: TraceOptions = {}): string {
    return fromCaller(this.trace, () => historyOf(this.#board).trace(options));
  }

  /**
   * Closes the VM and lets go of its memory; a second call does nothing.
   *
   * @throws {TypeError} From inside one of the machine's own handlers.
   */
  [Symbol.dispose](): void {
    const { trace } = this.#board;
    if (trace !== undefined && this.hasRun) reportEnd(this, trace);
    timed("disposing machines", () => this.#board[Symbol.dispose]());
  }
}
