import type { ExitPort } from "../devices/exit_port.ts";
import type { Uart } from "../devices/uart.ts";
import type { Image } from "../guest/image.ts";
import type { Libc } from "../ffi/libc.ts";
import type { Exit } from "../kvm/exits/exit.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vm } from "../kvm/vm.ts";
import type { FaultCatcherPlace, Mode } from "../x86/cpu_state.ts";
import type { Irqchip } from "./interrupts/irqchip.ts";
import { type CpuCore, cpuCore, type CpuParts } from "./cpu_core.ts";
import { CpuLane, type CpuProgress } from "./run/cpu_lane.ts";
import { type InterleavingOptions, SeededInterleaving, TimeSlices } from "./run/interleaving.ts";
import { CpuScheduler } from "./run/cpu_scheduler.ts";
import { CpuTurn, SLICE_MILLISECONDS } from "./run/cpu_turn.ts";
import { CpuWait } from "./run/cpu_wait.ts";
import { Devices } from "./buses/devices.ts";
import { ExitHandlers } from "./exits/exit_handlers.ts";
import { ExitLog } from "./exits/exit_log.ts";
import { FaultCatcher } from "./faults/fault_catcher.ts";
import { GuestDriver } from "./run/guest_driver.ts";
import { HaltWatch, LOOK_MILLISECONDS } from "./run/halt_watch.ts";
import type { StoppedCpu } from "./report/stopped_cpu.ts";
import type { RunOptions } from "./run/run_options.ts";
import { MsrIntercepts } from "./msrs/msr_intercepts.ts";
import type { DirtyPages } from "./memory/dirty_pages.ts";
import { nextInstruction } from "./memory/linear_memory.ts";
import { type MemorySlots, PhysicalMemory } from "./memory/physical_memory.ts";
import { PortOutput } from "./buses/port_output.ts";
import { RunLoop } from "./run/run_loop.ts";
import { TimeLimit } from "./run/time_limit.ts";
import { TimeLimitError } from "./run/time_limit_error.ts";

/** What a machine is made of; {@linkcode boot} puts it together. */
export interface MachineParts {
  /** The C library that every call goes through. */
  readonly libc: Libc;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** Its CPUs. */
  readonly cpus: readonly CpuParts[];
  /** By what seed they are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** The guest. */
  readonly image: Image;
  /** The mode in which it starts. */
  readonly mode: Mode;
  /** Its memory. */
  readonly slots: MemorySlots;
  /** What notes the pages that the guest writes. */
  readonly dirtyPages: DirtyPages | undefined;
  /** The time limit of a run, in milliseconds, before it is scaled. */
  readonly timeout: number;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** Whether the kernel has the interval timer. */
  readonly pit: boolean;
  /** How many exits the log keeps. */
  readonly recordExits: number;
  /** Whether it has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Where its fault catcher is, if it has one. */
  readonly faultCatcher: FaultCatcherPlace | undefined;
}

/** All that a machine is made of beside what test code sees of it: what its CPUs share, and what runs them. */
export class Board implements Disposable {
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The virtual machine. */
  readonly vm: Vm;
  /** The guest as it was loaded. */
  readonly image: Image;
  /** The mode in which it was booted. */
  readonly mode: Mode;
  /** Which interrupt controllers the kernel has. */
  readonly irqchip: Irqchip;
  /** Memory by guest physical address. */
  readonly memory: PhysicalMemory;
  /** The last exits. */
  readonly log: ExitLog;
  /** What the guest wrote to its ports. */
  readonly portOutput: PortOutput = new PortOutput();
  /** Who takes exits that are neither IO nor MMIO. */
  readonly handlers: ExitHandlers = new ExitHandlers();
  /** Who takes accesses to MSRs. */
  readonly intercepts: MsrIntercepts;
  /** The buses, and the interrupt controllers. */
  readonly devices: Devices;
  /** By what seed the CPUs are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** The CPUs' cores, by number. */
  readonly cores: readonly CpuCore[];
  /** The serial line at COM1, if there is one. */
  serial: Uart | undefined;
  /** The exit port, if there is one. */
  exitPort: ExitPort | undefined;
  readonly #parts: MachineParts;
  readonly #limit: TimeLimit;
  #cpus: readonly StoppedCpu[] = [];
  #lanes: readonly CpuLane[] = [];
  #driver: GuestDriver | undefined;
  #disposed = false;

  /** Takes ownership of the VM, the vCPUs and the open `/dev/kvm`. */
  constructor(parts: MachineParts) {
    this.#parts = parts;
    this.kvm = parts.kvm;
    this.vm = parts.vm;
    this.image = parts.image;
    this.mode = parts.mode;
    this.irqchip = parts.irqchip;
    this.interleaving = parts.interleaving;
    this.log = new ExitLog(parts.recordExits);
    this.intercepts = new MsrIntercepts(parts.vm, this.handlers, () => this.#disposed);
    this.memory = new PhysicalMemory(parts.slots, {
      checkUsable: () => this.checkUsable("use the memory"),
      checkIsNoDevice: (first, last) => this.devices.mmio.checkIsFree(first, last),
      nextInstructions: () =>
        this.#cpus.map((cpu) => nextInstruction(cpu)).filter((each) => each !== undefined),
    });
    this.devices = new Devices({
      ...parts,
      vcpu: parts.cpus[0].vcpu,
      portOutput: this.portOutput,
      isShared: parts.cpus.length > 1,
      checkIsNoRam: (first, last) => this.memory.checkIsNoRam(first, last),
    });
    this.cores = parts.cpus.map((cpu, number) =>
      cpuCore(number, cpu, {
        image: parts.image,
        hasSmm: parts.hasSmm,
        hasIrqchip: parts.irqchip !== false,
        checkUsable: (what) => this.checkUsable(what),
        checkStopped: (what) => this.driver.checkStopped(what),
      })
    );
    this.#limit = new TimeLimit(parts.libc, this.#tick);
    const { dirtyPages } = parts;
    if (dirtyPages !== undefined) {
      const answer = () => dirtyPages.harvest();
      this.handlers.onRaw("DIRTY_RING_FULL", { name: "the dirty ring", answer });
    }
  }

  /** Takes the machine's CPUs, once they are there. */
  connect(cpus: readonly StoppedCpu[]): void {
    const { interleaving, timeout } = this.#parts;
    const turn = cpus.length === 1 ? undefined : new CpuTurn();
    const lanes = cpus.map((cpu) => this.#lane(cpu, turn));
    if (interleaving !== undefined) {
      for (const { debug } of this.cores) debug.countInstructions();
    }
    this.#cpus = cpus;
    this.#lanes = lanes;
    this.#driver = new GuestDriver({
      lanes,
      scheduler: turn && new CpuScheduler({
        lanes,
        turn,
        interleaving: interleaving === undefined
          ? new TimeSlices()
          : new SeededInterleaving(interleaving.seed, interleaving.instructions),
      }),
      limit: this.#limit,
      timeout,
      checkUsable: (what) => this.checkUsable(what),
    });
  }

  /** What runs the guest. */
  get driver(): GuestDriver {
    return this.#driver!;
  }

  /** What the guest wrote to its exit port. */
  get exitStatus(): number | undefined {
    return this.exitPort?.status;
  }

  /** Whether the guest has a fault catcher. */
  get catchesFaults(): boolean {
    return this.#parts.faultCatcher !== undefined;
  }

  /** How far a CPU has come. */
  progressOf(cpu: number): CpuProgress {
    return this.#lanes[cpu];
  }

  /** See {@linkcode MachineCpu.step}. */
  step(cpu: number, options: RunOptions): Exit {
    return this.driver.step(cpu, options);
  }

  /** See {@linkcode MachineCpu.checkUsable}. */
  checkUsable(what: string): void {
    if (this.#disposed) {
      throw new TypeError(
        `Cannot ${what}: the machine is disposed. Look at it before its \`using\` ends.`,
      );
    }
  }

  /**
   * Closes the VM and lets go of its memory; a second call does nothing.
   *
   * @throws {TypeError} From inside one of the machine's own handlers.
   */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    if (this.driver.isRunning) {
      throw new TypeError(
        "Cannot dispose the machine: it is running. Call vm.stop() in the handler, and dispose it when run() has returned.",
      );
    }
    this.#disposed = true;
    this.#limit[Symbol.dispose]();
    this.devices[Symbol.dispose]();
    this.#parts.dirtyPages?.[Symbol.dispose]();
    for (const { vcpu } of this.cores) vcpu[Symbol.dispose]();
    this.vm[Symbol.dispose]();
    this.kvm[Symbol.dispose]();
    this.#parts.slots[Symbol.dispose]();
    for (const { store } of this.cores) store.forget();
  }

  /** How often the guest is interrupted, in milliseconds; undefined where there is no need. */
  get #tick(): number | undefined {
    if (this.#parts.cpus.length > 1) return SLICE_MILLISECONDS;
    return this.irqchip === false ? undefined : LOOK_MILLISECONDS;
  }

  #lane(cpu: StoppedCpu, turn: CpuTurn | undefined): CpuLane {
    const { vm, image, irqchip, devices, handlers, log, portOutput } = this;
    const { number, vcpu, store, registers, debug, interrupts } = this.cores[cpu.number];
    const { faultCatcher: place } = this.#parts;
    const limit = this.#limit;
    const halt = irqchip === false || turn !== undefined ? undefined : new HaltWatch(vcpu);
    const loop = new RunLoop({
      vcpu,
      cpu: number,
      turn,
      ports: devices.portTable,
      mmio: devices.mmioTable,
      coalesced: devices.coalesced,
      halt,
      handlers,
      log,
      portOutput,
      limit,
      debug,
      interrupts,
      flushRegisters: () => store.flush(),
      forgetRegisters: () => store.forget(),
      timeOver: () => {
        throw new TimeLimitError(cpu, limit.milliseconds);
      },
    });
    return new CpuLane({
      cpu,
      vcpu,
      debug,
      loop,
      halt,
      wait: turn && new CpuWait({ vm, vcpu, store, irqchip, interrupts }),
      catcher: place &&
        new FaultCatcher({ vcpu, store, registers, linear: cpu.linear, image, place }),
    });
  }
}
