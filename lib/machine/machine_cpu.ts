import type { Uart } from "../devices/uart.ts";
import type { Image } from "../guest/image.ts";
import { kvm_regs } from "../kvm/abi/structs/regs.ts";
import type { Exit } from "../kvm/exit.ts";
import type { Mode } from "../x86/cpu_state.ts";
import { type LocalApicState, localApicState } from "../x86/interrupts/local_apic.ts";
import type { GeneralRegister } from "../x86/registers.ts";
import type { CaughtFault } from "./faults/caught_fault.ts";
import { Cpuid } from "./cpuid/cpuid.ts";
import type { InterleavingOptions } from "./boot/cpu_options.ts";
import type { ExitLog } from "./exits/exit_log.ts";
import { fromCaller } from "./run/from_caller.ts";
import type { GuestDebug } from "./run/guest_debug.ts";
import type { Injection } from "./interrupts/injection.ts";
import type { KvmLevels } from "./kvm_levels.ts";
import { LinearMemory } from "./memory/linear_memory.ts";
import type { Machine } from "./machine.ts";
import type { CpuCore, MachineBoard, RunOptions } from "./machine_types.ts";
import { type MpState, mpStateNumber, mpStateOf } from "./interrupts/mp_state.ts";
import { Msrs } from "./msrs/msrs.ts";
import type { PhysicalMemory } from "./memory/physical_memory.ts";
import type { PortOutput } from "./buses/port_output.ts";
import type { Registers } from "./registers/registers.ts";
import { type VcpuEventState, vcpuEventState } from "./interrupts/vcpu_events.ts";

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
  readonly #core: CpuCore;
  readonly #board: MachineBoard;
  #bootRegisters!: Readonly<Record<GeneralRegister, bigint>>;

  /** Use {@linkcode Machine.cpus}. */
  constructor(core: CpuCore, board: MachineBoard) {
    const { number, vcpu, store, registers, debug, inject } = core;
    this.#core = core;
    this.#board = board;
    this.number = number;
    this.registers = registers;
    this.debug = debug;
    this.inject = inject;
    this.linear = new LinearMemory(board.memory, registers);
    this.msrs = new Msrs({
      kvm: board.kvm,
      vcpu,
      intercepts: board.intercepts,
      flushRegisters: () => store.flush(),
      forgetRegisters: () => store.forget(),
      checkUsable: () => this.checkUsable("use the MSRs"),
    });
    this.cpuid = new Cpuid(() => {
      this.checkUsable("ask CPUID");
      return vcpu.cpuid.getCpuid2();
    });
  }

  /** The machine whose CPU it is. */
  get machine(): Machine {
    return this.#board.machine;
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

  /**
   * The serial line at COM1.
   *
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  get serial(): Uart {
    const { serial } = this.#board;
    if (serial !== undefined) return serial;
    throw new TypeError("Cannot use the serial line: the machine was booted with `serial: false`");
  }

  /** Whether the machine has its serial line at COM1. */
  get hasSerial(): boolean {
    return this.#board.serial !== undefined;
  }

  /** What the guest wrote to its exit port (the option `exitPort`), or undefined. */
  get exitStatus(): number | undefined {
    return this.#board.exitStatus;
  }

  /** By what seed the machine's CPUs are interleaved (the option `interleaving`); undefined for time slices. */
  get interleaving(): InterleavingOptions | undefined {
    return this.#board.interleaving;
  }

  /** The general registers as they were when the machine was booted. */
  get bootRegisters(): Readonly<Record<GeneralRegister, bigint>> {
    return this.#bootRegisters;
  }

  /** The CPU's latest exit that test code has seen, or undefined before the first. */
  get lastExit(): Exit | undefined {
    return this.#board.progressOf(this.number).lastExit;
  }

  /**
   * Whether the CPU stands at its latest exit: false before the first, and where its turn or the time limit stopped
   * it.
   */
  get isAtExit(): boolean {
    return this.#board.progressOf(this.number).isAtExit;
  }

  /**
   * The latest fault that the guest's fault catcher has reported, or undefined before the first.
   *
   * @throws {TypeError} When the machine was booted without `catchFaults`.
   */
  get fault(): CaughtFault | undefined {
    if (this.catchesFaults) return this.#board.progressOf(this.number).lastFault;
    throw new TypeError(
      "Cannot look for a fault: the machine was booted without `catchFaults: true`, so that its guest reports none",
    );
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
    this.checkUsable("use KVM");
    const { vcpu, store } = this.#core;
    store.flush();
    store.forgetAll();
    const { kvm, vm } = this.#board;
    return { kvm, vm, vcpu };
  }

  /**
   * Whether the CPU runs, or what it waits for. Those other than `"RUNNABLE"` are of machines with interrupt
   * controllers (the option `irqchip`).
   *
   * @throws {RangeError} When it is set to a state that does not exist.
   * @throws {KvmError} When it is set to one that KVM refuses.
   */
  get mpState(): MpState {
    return mpStateOf(this.kvm.vcpu.events.getMpState());
  }

  set mpState(state: MpState) {
    const number = mpStateNumber(state);
    this.kvm.vcpu.events.setMpState(number);
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
   * Does nothing while the machine can be used.
   *
   * @throws {TypeError} When it is disposed, saying what cannot be done with it.
   */
  checkUsable(what: string): void {
    this.#board.checkUsable(what);
  }

  /**
   * Brings the registers that were set into the vCPU, and keeps them as those it was booted with. For `boot`
   * alone.
   */
  commitBootState(): void {
    this.#core.store.flush();
    this.#bootRegisters = kvm_regs.read(this.#core.store.view("general"));
  }
}
