import type { DeviceCpu } from "../devices/device.ts";
import type { Uart } from "../devices/uart.ts";
import type { Image } from "../guest/image.ts";
import { kvm_regs, kvm_sregs } from "../kvm/abi/structs/registers.ts";
import type { Exit } from "../kvm/exits/exit.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { KvmRunPage } from "../kvm/kvm_run_page.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import type { GeneralRegisters, SpecialRegisters } from "../x86/boot/cpu_state.ts";
import { localApicState } from "../x86/apic/local_apic.ts";
import { Cpuid } from "./cpuid/cpuid.ts";
import type { ExitLog } from "./exits/exit_log.ts";
import type { CaughtFault } from "./faults/caught_fault.ts";
import type { InterruptControllers } from "./interrupts/held_back.ts";
import { Injection } from "./interrupts/injection.ts";
import { InterruptQueue } from "./interrupts/interrupt_queue.ts";
import type { Irqchip } from "./interrupts/irqchip.ts";
import { type MpState, mpStateNumber, mpStateOf } from "./interrupts/vcpu_events.ts";
import { LinearMemory } from "./memory/linear_memory.ts";
import type { BackedMemory } from "./memory/physical_memory.ts";
import type { MsrIntercepts } from "./msrs/msr_intercepts.ts";
import { Msrs } from "./msrs/msrs.ts";
import {
  labelAddress,
  labelAddresses,
  linearInstructionPointer,
} from "./registers/code_location.ts";
import type { RegisterStore } from "./registers/register_store.ts";
import { type Registers, registersOf } from "./registers/registers.ts";
import { ownIdt } from "./report/registers_section.ts";
import type { StoppedCpu } from "./report/stopped_cpu.ts";
import type { CpuProgress } from "./run/cpu_runner.ts";
import { DebugControl } from "./run/guest_debug.ts";
import type { InterleavingOptions } from "./run/interleaving.ts";

const INDEX = /^\d+$/;

/**
 * The levels under a machine: every ioctl of KVM, typed. They stay the machine's: they cannot be disposed nor given
 * away, nor the vCPU run.
 */
export interface KvmLevels {
  /** `/dev/kvm`. */
  readonly kvm: Omit<Kvm, typeof Symbol.dispose | "give" | "takeVm">;
  /** The machine's VM. */
  readonly vm: Omit<Vm, typeof Symbol.dispose | "give" | "takeVcpu" | "asked">;
  /** The machine's CPU. Of `kvm_run` it has what the kernel says beside the exit. */
  readonly vcpu: Omit<Vcpu, typeof Symbol.dispose | "give" | "asked" | "run" | "kvmRun"> & {
    readonly kvmRun: Readonly<
      Pick<KvmRunPage, "readyForInterruptInjection" | "ifFlag" | "cr8" | "apicBase">
    >;
  };
}

/** A virtual CPU with its registers. */
export interface VcpuAndRegisters {
  /** The virtual CPU. */
  readonly vcpu: Vcpu;
  /** Its registers. */
  readonly store: RegisterStore;
}

/** What a CPU takes of its machine. */
export interface CpuOwner {
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** The guest as it was loaded. */
  readonly image: Image;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** The two 8259As, in the kernel or among the devices. */
  readonly pic: InterruptControllers["pic"];
  /** The IOAPIC in the kernel. */
  readonly ioapic: InterruptControllers["ioapic"];
  /** Whether the guest has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Whether the guest has a fault catcher. */
  readonly catchesFaults: boolean;
  /** Memory by guest physical address. */
  readonly memory: BackedMemory;
  /** The last exits. */
  readonly log: ExitLog;
  /** Who takes accesses to MSRs. */
  readonly intercepts: MsrIntercepts;
  /** The serial line at COM1, if there is one. */
  readonly serial: Uart | undefined;
  /** By what seed the CPUs are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** Its CPUs, by number. */
  readonly cpus: readonly Cpu[];
  /** The CPU of the latest exit; the first before that. */
  readonly exitingCpu: Cpu;
  /** Has INIT# asserted before the guest goes on. */
  askForInit(): void;
  /** How far a CPU has come. */
  progressOf(cpu: number): CpuProgress;
  /** Throws where the machine is disposed. */
  checkUsable(what: string): void;
  /** Throws where the guest runs, or waits for an answer. */
  checkStopped(what: string): void;
}

/** A selector of real mode counts units of 16 bytes. */
const PARAGRAPH_BITS = 4n;

/** A CPU of a machine: its registers and its memory, and what a test does to it beside answering it. */
export class Cpu implements StoppedCpu {
  /** Its number. */
  readonly number: number;
  /** The machine. */
  readonly machine: CpuOwner;
  /** The virtual CPU. */
  readonly vcpu: Vcpu;
  /** The registers as KVM has them. */
  readonly store: RegisterStore;
  /** The registers, by every name. */
  readonly registers: Registers;
  /** Memory by linear address. */
  readonly linear: LinearMemory;
  /** Breakpoints, watchpoints, and what else stops it for a look. */
  readonly debug: DebugControl;
  /** The interrupts that wait for it. */
  readonly interrupts: InterruptQueue;
  /** Exceptions, interrupts, NMIs and SMIs from outside. */
  readonly inject: Injection;
  /** The model-specific registers. */
  readonly msrs: Msrs;
  /** What CPUID answers. */
  readonly cpuid: Cpuid;
  readonly #bootBytes = {
    general: new Uint8Array(kvm_regs.size),
    special: new Uint8Array(kvm_sregs.size),
  };

  /** A CPU whose registers are still to be set. */
  constructor(number: number, { vcpu, store }: VcpuAndRegisters, machine: CpuOwner) {
    const { image, hasSmm, irqchip, memory, intercepts, kvm } = machine;
    const registers = registersOf(store, (label) => image.symbol(label));
    const addressOf = (label: string) => labelAddress({ registers, image }, label);
    const checkUsable = (what: string) => machine.checkUsable(what);
    this.number = number;
    this.machine = machine;
    this.vcpu = vcpu;
    this.store = store;
    this.registers = registers;
    this.linear = new LinearMemory(memory, store, addressOf);
    this.debug = new DebugControl({
      vcpu,
      nextInstruction: () => linearInstructionPointer(registers),
      isMoved: () => store.movesInstructionPointer,
      addressesOf: (place) => labelAddresses({ registers, image }, place),
      checkUsable,
    });
    this.interrupts = new InterruptQueue(vcpu, () => registers.rflags.if);
    this.inject = new Injection({
      vcpu,
      hasSmm,
      registers: () => registers,
      queue: this.interrupts,
      hasIrqchip: irqchip !== false,
      isFirst: number === 0,
      askForInit: () => machine.askForInit(),
      checkUsable,
      checkStopped: (what) => machine.checkStopped(what),
    });
    this.msrs = new Msrs({
      kvm,
      vcpu,
      intercepts,
      store,
      symbol: (name) => image.symbol(name),
      checkUsable: () => checkUsable("use the MSRs"),
    });
    this.cpuid = new Cpuid(() => {
      checkUsable("ask CPUID");
      return vcpu.cpuid.getCpuid2();
    });
  }

  /** The guest as it was loaded. */
  get image(): Image {
    return this.machine.image;
  }

  /** Memory by guest physical address. */
  get memory(): BackedMemory {
    return this.machine.memory;
  }

  /** The last exits, of all CPUs. */
  get log(): ExitLog {
    return this.machine.log;
  }

  /** By what seed the CPUs are interleaved, if they are. */
  get interleaving(): InterleavingOptions | undefined {
    return this.machine.interleaving;
  }

  /** See {@linkcode MachineCpu.serial}. */
  get serial(): Uart {
    const { serial } = this.machine;
    if (serial !== undefined) return serial;
    throw new TypeError("Cannot use the serial line: the machine was booted with `serial: false`");
  }

  /** Whether the machine has its serial line. */
  get hasSerial(): boolean {
    return this.machine.serial !== undefined;
  }

  /** See {@linkcode MachineCpu.lastExit}. */
  get lastExit(): Exit | undefined {
    return this.machine.progressOf(this.number).lastExit;
  }

  /** See {@linkcode MachineCpu.isAtExit}. */
  get isAtExit(): boolean {
    return this.machine.progressOf(this.number).isAtExit;
  }

  /** Whether the guest has a fault catcher. */
  get catchesFaults(): boolean {
    return this.machine.catchesFaults;
  }

  /** See {@linkcode MachineCpu.fault}. */
  get fault(): CaughtFault | undefined {
    if (this.catchesFaults) {
      const { lastFault } = this.machine.progressOf(this.number);
      const own = lastFault === undefined ? ownIdt(this) : undefined;
      if (own === undefined) return lastFault;
      throw new TypeError(
        `Cannot look for a fault: ${own}, so that none would be known. Ask the guest's own handlers.`,
      );
    }
    throw new TypeError(
      "Cannot look for a fault: the machine was booted without `catchFaults: true`, so that its guest reports none",
    );
  }

  /** See {@linkcode MachineCpu.kvm}. */
  get kvm(): KvmLevels {
    const { kvm, vm } = this.machine;
    this.machine.checkUsable("use KVM");
    this.store.flush();
    this.store.forgetAll();
    return { kvm, vm, vcpu: this.vcpu };
  }

  /** See {@linkcode MachineCpu.interruptControllers}. */
  get interruptControllers(): InterruptControllers {
    const { pic, ioapic, irqchip } = this.machine;
    // Not by what tests get: whoever has that may set registers, and a page changes nothing.
    const localApic = irqchip === false ? undefined : localApicState(this.vcpu.apic.getLapic());
    return { pic, ioapic, localApic };
  }

  /** See {@linkcode MachineCpu.mpState}. */
  get mpState(): MpState {
    return mpStateOf(this.kvm.vcpu.events.getMpState());
  }

  set mpState(state: MpState) {
    const number = mpStateNumber(state);
    const { kvm: { vcpu }, machine: { irqchip } } = this;
    if (irqchip === false && state !== "RUNNABLE") {
      throw new TypeError(
        `Cannot set the MP state as "${state}": the machine was booted without a local APIC in the kernel, and its CPU ` +
          "is always RUNNABLE. Boot it with `irqchip: true`; or, for a guest that shall begin again at its reset vector, " +
          "use vm.inject.init(), or a device by which it resets the machine (`ResetControl`, `SystemControlPort`, `I8042`) " +
          'with `reset: "restart"`.',
      );
    }
    vcpu.events.setMpState(number);
  }

  /** The registers as they were when the machine was booted. */
  get bootRegisters(): Readonly<GeneralRegisters & SpecialRegisters> {
    const { general, special } = this.#bootBytes;
    return {
      ...kvm_regs.read(new DataView(general.buffer)),
      ...kvm_sregs.read(new DataView(special.buffer)),
    };
  }

  /** Brings the registers that were set into the vCPU, and keeps them as those it was booted with. */
  noteBootRegisters(): void {
    this.store.flush();
    for (const set of ["general", "special"] as const) {
      this.#bootBytes[set].set(new Uint8Array(this.store.view(set).buffer));
    }
  }
}

/** The CPUs of a machine, by number: one that is not there is an error that says so, and not undefined. */
export function cpuList<Cpus extends readonly object[]>(cpus: Cpus): Cpus {
  return new Proxy(cpus, {
    get(target, name, receiver) {
      if (typeof name === "string" && INDEX.test(name) && !(name in target)) {
        throw new RangeError(
          `Cannot use CPU ${name}: the machine has CPUs 0 to ${
            target.length - 1
          }. The option \`cpus\` gives it more.`,
        );
      }
      return Reflect.get(target, name, receiver);
    },
  });
}

/** Has KVM finish a CPU's latest exit, where it has not: somebody may look at what that has done. */
export function finishExit({ vcpu }: Cpu): void {
  vcpu.unfinished?.();
}

/** A CPU as devices see it. */
export function deviceCpu({ number, linear, registers }: Cpu): DeviceCpu {
  return {
    number,
    linear,
    get(name) {
      const value: unknown = Reflect.get(registers, name);
      return typeof value === "bigint" || typeof value === "number"
        ? BigInt(value)
        : (value as { readonly base: bigint }).base;
    },
    set(name, value) {
      const segment: unknown = Reflect.get(registers, name);
      if (typeof segment !== "object") return void Reflect.set(registers, name, value);
      Object.assign(segment!, { selector: Number(value), base: BigInt(value) << PARAGRAPH_BITS });
    },
  };
}
