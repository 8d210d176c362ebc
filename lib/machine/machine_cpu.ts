import type { Uart } from "../devices/uart.ts";
import type { Address } from "../guest/address.ts";
import type { Image } from "../guest/image.ts";
import type { Exit } from "../kvm/exits/exit.ts";
import type { Mode } from "../x86/boot/cpu_state.ts";
import { type LocalApicState, localApicState } from "../x86/apic/local_apic.ts";
import type { GeneralRegisters, SpecialRegisters } from "../x86/boot/cpu_state.ts";
import type { Board } from "./board.ts";
import type { PortOutput } from "./buses/port_output.ts";
import type { Cpu, KvmLevels } from "./cpu.ts";
import type { Cpuid } from "./cpuid/cpuid.ts";
import type { ExitLog } from "./exits/exit_log.ts";
import type { CaughtFault } from "./faults/caught_fault.ts";
import type { InterruptControllers } from "./interrupts/held_back.ts";
import type { Injection } from "./interrupts/injection.ts";
import { type MpState, type VcpuEventState, vcpuEventState } from "./interrupts/vcpu_events.ts";
import type { LinearMemory } from "./memory/linear_memory.ts";
import type { PhysicalMemory } from "./memory/physical_memory.ts";
import type { Msrs } from "./msrs/msrs.ts";
import type { Registers } from "./registers/registers.ts";
import { fromCaller } from "./run/run_errors.ts";
import type { GuestDebug } from "./run/guest_debug.ts";
import type { InterleavingOptions } from "./run/interleaving.ts";
import type { CallInput, CallOptions, RunOptions } from "./run/run_options.ts";

/** What test code sees of a CPU, and does with it: all of {@linkcode MachineCpu}. `Whole` is what its machine is. */
export class MachineCpuOf<Whole> {
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
  readonly #machine: Whole | undefined;

  /** Use {@linkcode Machine.cpus}. */
  constructor(core: Cpu, board: Board, machine?: Whole) {
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
  get machine(): Whole {
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
    const { set } = Object.getOwnPropertyDescriptor(MachineCpuOf.prototype, "mpState")!;
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

  /** The interrupt controllers that it hears of: those in the kernel, or a `Pic` among the machine's `devices`. */
  get interruptControllers(): InterruptControllers {
    return this.#core.interruptControllers;
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
    return fromCaller(this.step, () => this.#board.runControl.step(this.number, options));
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
