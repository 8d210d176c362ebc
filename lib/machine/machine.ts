import type { MmioHandler, PortHandler } from "../devices/handlers.ts";
import type { TextScreen } from "../devices/text_screen.ts";
import type { Uart } from "../devices/uart.ts";
import type { Address } from "../guest/address.ts";
import type { Image } from "../guest/image.ts";
import type { AnswerFields, Exit, HandledReason } from "../kvm/exits/exit.ts";
import type { Mode } from "../x86/boot/cpu_state.ts";
import { type LocalApicState, localApicState } from "../x86/apic/local_apic.ts";
import type { GeneralRegisters, SpecialRegisters } from "../x86/boot/cpu_state.ts";
import type { Board } from "./board.ts";
import type { DeviceBus } from "./buses/device_bus.ts";
import type { PortOutput } from "./buses/port_output.ts";
import { type Cpu, cpuList, type KvmLevels } from "./cpu.ts";
import type { Cpuid } from "./cpuid/cpuid.ts";
import type { ExitHandler } from "./exits/exit_handlers.ts";
import type { ExitLog } from "./exits/exit_log.ts";
import type { CaughtFault } from "./faults/caught_fault.ts";
import type { Injection } from "./interrupts/injection.ts";
import type { Interrupts } from "./interrupts/interrupts.ts";
import { type MpState, type VcpuEventState, vcpuEventState } from "./interrupts/vcpu_events.ts";
import type { LinearMemory } from "./memory/linear_memory.ts";
import type { PhysicalMemory } from "./memory/physical_memory.ts";
import type { Msrs } from "./msrs/msrs.ts";
import type { Registers } from "./registers/registers.ts";
import { fromCaller, iteratedFromCaller } from "./run/run_errors.ts";
import type { GuestDebug } from "./run/guest_debug.ts";
import type { InterleavingOptions } from "./run/interleaving.ts";
import type { RunControl } from "./run/run_control.ts";
import type {
  CallInput,
  CallOptions,
  ExitsOptions,
  ObservedExit,
  RunOptions,
} from "./run/run_options.ts";

/** What runs a machine. For matchers, whose runs have parts. */
export let runControlOf: (machine: Machine) => RunControl;

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
export class MachineCpu {
  /** Its number, from 0. It is its local APIC's id as well. */
  readonly number: number;
  /** The registers, by every name. */
  readonly registers: Registers;
  /** Memory by linear address, through the guest's page tables. */
  readonly linear: LinearMemory;
  /** Breakpoints, watchpoints, and what else stops the guest for a look. */
  readonly debug: GuestDebug;
  /** Exceptions, interrupts, NMIs and SMIs from outside. */
  readonly inject: Injection;
  /** The model-specific registers, by name or number, and who takes the guest's accesses to them. */
  readonly msrs: Msrs;
  /** What CPUID answers, by name. */
  readonly cpuid: Cpuid;
  readonly #core: Cpu;
  readonly #board: Board;
  readonly #machine: Machine | undefined;

  /** Use {@linkcode Machine.cpus}. */
  constructor(core: Cpu, board: Board, machine?: Machine) {
    this.#core = core;
    this.#board = board;
    this.#machine = machine;
    this.number = core.number;
    this.registers = core.registers;
    this.linear = core.linear;
    this.debug = core.debug;
    this.inject = core.inject;
    this.msrs = core.msrs;
    this.cpuid = core.cpuid;
  }

  /** The machine whose CPU it is. */
  get machine(): Machine {
    return this.#machine!;
  }

  /** The guest as it was loaded: its symbols, its lines. */
  get image(): Image {
    return this.#board.image;
  }

  /** The mode in which it was booted. */
  get mode(): Mode {
    return this.#board.mode;
  }

  /** Memory by guest physical address. */
  get memory(): PhysicalMemory {
    return this.#board.memory;
  }

  /** The last exits, of all CPUs. How many it keeps is the option `recordExits`. */
  get log(): ExitLog {
    return this.#board.log;
  }

  /** What the guest wrote to its ports, whoever answered. */
  get portOutput(): PortOutput {
    return this.#board.portOutput;
  }

  /** The serial line at COM1. @throws {TypeError} When the machine was booted with `serial: false`. */
  get serial(): Uart {
    return this.#core.serial;
  }

  /** Whether the machine has its serial line at COM1. */
  get hasSerial(): boolean {
    return this.#core.hasSerial;
  }

  /**
   * What the guest wrote last to its exit port (the option `exitPort`) since the latest {@linkcode Machine.run},
   * {@linkcode Machine.exits} or transcript began, or undefined.
   */
  get exitStatus(): number | undefined {
    return this.#board.exitStatus;
  }

  /** Whether the guest has been run at all, by whatever means. */
  get hasRun(): boolean {
    return this.#board.hasRun;
  }

  /** By what seed the machine's CPUs are interleaved (the option `interleaving`); undefined for time slices. */
  get interleaving(): InterleavingOptions | undefined {
    return this.#board.interleaving;
  }

  /** The general and the special registers as they were when the machine was booted. */
  get bootRegisters(): Readonly<GeneralRegisters & SpecialRegisters> {
    return this.#core.bootRegisters;
  }

  /** The CPU's latest exit that test code has seen, or undefined before the first. */
  get lastExit(): Exit | undefined {
    return this.#core.lastExit;
  }

  /**
   * Whether the CPU stands at its latest exit: false before the first, and where its turn or the time limit stopped
   * it.
   */
  get isAtExit(): boolean {
    return this.#core.isAtExit;
  }

  /**
   * The latest fault that the guest's fault catcher has reported, or undefined before the first.
   *
   * @throws {TypeError} When the machine was booted without `catchFaults`, or none was reported and the guest has loaded
   *   an IDT of its own by now: then nobody knows.
   */
  get fault(): CaughtFault | undefined {
    return this.#core.fault;
  }

  /** Whether the guest has a fault catcher (the option `catchFaults`). */
  get catchesFaults(): boolean {
    return this.#board.catchesFaults;
  }

  /**
   * The levels of KVM under the machine, for all that has no name on the machine itself. Registers that were
   * set are brought into the vCPU first, and are read anew afterwards: ask for it at each use.
   *
   * @throws {KvmError} When KVM refuses the registers that were set.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`hlt`);
   * console.log(vm.kvm.vcpu.clock.getTscKhz());
   * vm.kvm.vcpu.clock.setTscOffset(0n);
   * vm.run();
   * using statistics = vm.kvm.vcpu.getStatsFd();
   * console.log(statistics.read().get("exits"));
   * ```
   */
  get kvm(): KvmLevels {
    return this.#core.kvm;
  }

  /**
   * Whether the CPU runs, or what it waits for. Those other than `"RUNNABLE"` are of machines with a local APIC in the
   * kernel (the option `irqchip`).
   *
   * @throws {RangeError} When it is set to a state that does not exist.
   * @throws {TypeError} When it is set to another than `"RUNNABLE"`, and there is no local APIC.
   * @throws {KvmError} When it is set to one that KVM refuses: INIT and SIPI in system-management mode, and while a guest
   *   that is a hypervisor blocks them.
   */
  get mpState(): MpState {
    return this.#core.mpState;
  }

  set mpState(state: MpState) {
    const { set } = Object.getOwnPropertyDescriptor(MachineCpu.prototype, "mpState")!;
    fromCaller(set!, () => void (this.#core.mpState = state));
  }

  /**
   * The registers of the CPU's local APIC.
   *
   * @throws {TypeError} When the machine was booted without one in the kernel (the option `irqchip`).
   */
  get localApic(): LocalApicState {
    if (this.#board.irqchip !== false) return localApicState(this.kvm.vcpu.apic.getLapic());
    throw new TypeError(
      "Cannot read the local APIC: the machine was booted without one in the kernel. Boot it with `irqchip: true`.",
    );
  }

  /** What the CPU is about to take, and what holds it back: exceptions, interrupts, NMIs, SMIs. */
  get events(): VcpuEventState {
    return vcpuEventState(this.kvm.vcpu.events.getVcpuEvents());
  }

  /**
   * Executes one instruction of this CPU, and hands what it does to the handlers. The others stand still.
   *
   * @returns A DEBUG exit, or, where the instruction ended the run (HLT, a triple fault), that exit.
   * @throws As {@linkcode Machine.run} does.
   */
  step(options: RunOptions = {}): Exit {
    return fromCaller(this.step, () => this.#board.step(this.number, options));
  }

  /**
   * Runs one routine of the guest, from its first instruction until it returns, and leaves the CPU where it was: RIP
   * and RSP are as before the call, all other registers as the routine left them. Devices and handlers answer its
   * exits; other CPUs stand still.
   *
   * Given registers, the routine finds them set. Given a list, it is called by the C convention of the code's width:
   * 64-bit code has its arguments in RDI, RSI, RDX, RCX, R8, R9 and then on the stack (System V), 32- and 16-bit code
   * has all of them on the stack (cdecl), a word each; a label stands for its address. It must have kept what is its
   * caller's: RBX, RBP, R12 to R15; EBX, ESI, EDI, EBP; SI, DI, BP; and DF clear. Either way it returns by a near
   * `ret` that pops no arguments.
   *
   * Its frame lies below RSP on the guest's own stack, which is not put back: no interrupted code keeps anything there
   * (in 64-bit code the red zone of 128 bytes is left alone). The return address leads to an `out` above the arguments.
   * Where that could not be executed (no-execute pages, code at CPL 3, a code segment that does not reach the stack), a
   * breakpoint takes its place, which in the emulated machine of QEMU single-steps the routine.
   *
   * @param routine A label, or a linear address.
   * @param given Registers by name, or the arguments.
   * @returns What the routine left in RAX, EAX or AX, as the option `returns` says.
   * @throws {CallError} When it does not return (HLT, a triple fault, a breakpoint, {@linkcode Machine.stop}, a write
   *   to the exit port), or comes back with another RSP or CS, or has not kept those registers.
   * @throws {UnhandledExitError} At an exit that no handler answers.
   * @throws {GuestFaultError} At a fault that the guest's fault catcher reports.
   * @throws {TimeLimitError} When it takes longer than its limit.
   * @throws {TypeError} When the guest waits for an answer, or for a SIPI, or is in the middle of an instruction; or
   *   what is given is no number.
   * @throws {RangeError} When there is no such label or register, a value does not fit, or there is no memory at RSP.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   hlt
   * uart_putc:
   *   mov dx, 0x3f8
   *   out dx, al
   *   ret
   * `);
   * vm.call("uart_putc", { al: 0x41 });
   * console.log(vm.serial.text); // A
   * ```
   */
  call(
    routine: Address,
    given: CallInput = {},
    options: CallOptions = {},
  ): bigint {
    const { runControl } = this.#board;
    using call = fromCaller(
      this.call,
      () => runControl.prepareCall(this.number, routine, given, options).enter(),
    );
    return fromCaller(this.call, () => runControl.call(call, options));
  }

  /**
   * Does nothing while the machine can be used.
   *
   * @throws {TypeError} When it is disposed, saying what cannot be done with it.
   */
  checkUsable(what: string): void {
    this.#board.checkUsable(what);
  }
}

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

  static {
    runControlOf = (machine) => machine.#board.runControl;
  }

  /** Use {@linkcode boot}. Takes ownership of the board, whose CPUs stand where the guest starts. */
  constructor(board: Board) {
    const [first, ...others] = board.cpus;
    super(first, board);
    this.#board = board;
    const rest = others.map((core) => new MachineCpu(core, board, this));
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
   * The time limit is for all of them together; it is counted while the guest runs, not while test code has control.
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
    return iteratedFromCaller(
      fromCaller(this.exits, () => this.#board.runControl.exits(options)),
    );
  }

  /**
   * Hands exits of a reason to `handler`, until the returned object is disposed; IO and MMIO have their buses.
   * `run` goes on after an exit that it takes.
   *
   * @throws {RangeError} When there is no such reason, or another handler has it.
   * @throws {TypeError} When it is IO or MMIO, or the handler is no function.
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
  on<Reason extends HandledReason>(reason: Reason, handler: ExitHandler<Reason>): Disposable {
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

  /** Ends the run when the handler that calls this returns: `run` then returns that handler's exit. */
  stop(): void {
    this.checkUsable("stop the machine");
    this.#board.runControl.stop();
  }

  /**
   * Closes the VM and lets go of its memory; a second call does nothing.
   *
   * @throws {TypeError} From inside one of the machine's own handlers.
   */
  [Symbol.dispose](): void {
    this.#board[Symbol.dispose]();
  }
}
