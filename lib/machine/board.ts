import type { Device } from "../devices/device.ts";
import { ExitPort } from "../devices/exit_port.ts";
import { openBusMmio, openBusPorts } from "../devices/open_bus.ts";
import { HostClock, TestClock, Timers } from "../devices/timers.ts";
import { Bios } from "../devices/bios/bios.ts";
import { Pic } from "../devices/pic.ts";
import { TextScreen } from "../devices/text_screen.ts";
import { Uart } from "../devices/uart.ts";
import type { Image } from "../guest/image.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vm } from "../kvm/vm.ts";
import type { Mode } from "../x86/boot/cpu_state.ts";
import type { InterruptControllers } from "./interrupts/held_back.ts";
import type { Irqchip } from "./interrupts/irqchip.ts";
import { callForAttention, Kick } from "./interrupts/kick.ts";
import { ExternalInterrupts } from "./interrupts/external_interrupts.ts";
import type { BoardInit } from "./board_init.ts";
import { Cpu, deviceCpu, finishExit } from "./cpu.ts";
import { type CpuProgress, CpuRunner } from "./run/cpu_runner.ts";
import { type InterleavingOptions, RoundRobin, TimeSlice } from "./run/interleaving.ts";
import { CpuScheduler } from "./run/cpu_scheduler.ts";
import { ActivityState, HaltWatch, LOOK_MILLISECONDS } from "./run/activity_state.ts";
import { AttachedDevices } from "./buses/attached_devices.ts";
import { initCpu, KernelReset } from "./reset.ts";
import { Devices } from "./buses/devices.ts";
import { ExitHandlers } from "./exits/exit_handlers.ts";
import { ExitRecorder } from "./exits/exit_log.ts";
import { InputRecord, type MemoryInput } from "./exits/input_record.ts";
import { FaultCatcher } from "./faults/fault_catcher.ts";
import { RunEnds } from "./run/run_ends.ts";
import { RunControl } from "./run/run_control.ts";
import { MsrIntercepts } from "./msrs/msr_intercepts.ts";
import { nextInstruction } from "./memory/linear_memory.ts";
import { LoadedImage } from "./memory/loaded_image.ts";
import type { Coverage } from "./coverage/coverage.ts";
import { CodeCoverage } from "./coverage/code_coverage.ts";
import type { MemorySlot } from "./memory/memory_slots.ts";
import { BackedMemory } from "./memory/physical_memory.ts";
import { ReadonlyMemory } from "./memory/device_rom.ts";
import { ShadowRam } from "./memory/shadow_ram.ts";
import { PortRecorder } from "./buses/port_output.ts";
import { RunLoop } from "./run/run_loop.ts";
import { SLICE_MILLISECONDS, SpinWatch } from "./run/spin_watch.ts";
import { TimeLimit } from "./run/time_limit.ts";
import type { Snapshot } from "./snapshot/snapshot.ts";
import { Snapshots } from "./snapshot/snapshots.ts";
import { showsAllState } from "./snapshot/unfinished.ts";
import { ExitTrace } from "./viewer/exit_trace.ts";
import { TimeLimitError } from "./run/run_errors.ts";

/** How often it is looked whether another thread has kicked the CPUs. */
const KICK_MILLISECONDS = 5;

/** How often a guest without exits is interrupted for its devices. */
const DEVICE_MILLISECONDS = 1;

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
  readonly memory: BackedMemory;
  /** Where the guest was loaded. */
  readonly loaded: LoadedImage;
  /** The last exits. */
  readonly log: ExitRecorder;
  /** What came to the guest from outside since it was booted, or brought to the state of {@linkcode Board.start}. */
  readonly inputs: InputRecord;
  /** The state from which the guest runs, where that is not the one in which it was booted. */
  start: Snapshot | undefined;
  /** Throws where a run has ended well that would not on hardware. */
  checkStrictly: (() => void) | undefined;
  /** What runs it once more; it ends with it. */
  examiner: Disposable & { standAtFault(): void } | undefined;
  /** What the guest wrote to its ports. */
  readonly portOutput: PortRecorder = new PortRecorder();
  /** Who takes exits that are neither IO nor MMIO. */
  readonly handlers: ExitHandlers = new ExitHandlers();
  /** Who takes accesses to MSRs. */
  readonly intercepts: MsrIntercepts;
  /** The buses, and the interrupt controllers. */
  readonly devices: Devices;
  /** By what seed the CPUs are interleaved, if they are. */
  readonly interleaving: InterleavingOptions | undefined;
  /** Whether the guest has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Whether the guest has a fault catcher. */
  readonly catchesFaults: boolean;
  /** The CPUs, by number. */
  readonly cpus: readonly Cpu[];
  /** What runs the guest. */
  readonly runControl: RunControl;
  /** The serial line at COM1, if there is one. */
  readonly serial: Uart | undefined;
  /** Who ends a run from outside. */
  readonly kick: Kick = new Kick(() => {
    this.#limit.tickAtLeast(KICK_MILLISECONDS);
    callForAttention(this.cpus);
  });
  readonly #parts: BoardInit;
  readonly #limit: TimeLimit;
  readonly #timers: Timers | undefined;
  readonly #attached: AttachedDevices;
  /** Takes snapshots, and restores them. */
  readonly snapshots: Snapshots;
  #kernelReset: KernelReset | undefined;
  #coverage: CodeCoverage | undefined;
  #bootSlots: readonly MemorySlot[] = [];
  readonly #runners: readonly CpuRunner[];
  /** What a report of the test shows, where there is to be one. */
  readonly trace?: ExitTrace;
  #disposed = false;

  /** Takes ownership of the VM, the vCPUs, the memory and the open `/dev/kvm`. */
  constructor(parts: BoardInit) {
    const { libc, kvm, vm, dirtyPages, settings } = parts;
    const { image, mode, irqchip, pit, interleaving, timeout, serial, exitPort } = settings;
    this.#parts = parts;
    this.kvm = kvm;
    this.vm = vm;
    this.image = image;
    this.mode = mode;
    this.irqchip = irqchip;
    this.interleaving = interleaving?.options;
    this.hasSmm = settings.hasSmm;
    this.catchesFaults = settings.faultCatcher !== undefined;
    this.log = new ExitRecorder(settings.recordExits, settings.timeExits);
    this.inputs = new InputRecord(this.log);
    this.intercepts = new MsrIntercepts(vm, this.handlers, () => this.#disposed);
    this.loaded = new LoadedImage(image);
    this.memory = new BackedMemory(parts.slots, {
      addressOf: (label) => this.loaded.physicalOf(label),
      checkUsable: () => this.checkUsable("use the memory"),
      finishExit: () => this.cpus.forEach(finishExit),
      checkIsNoDevice: (first, last) => this.devices.mmio.checkIsFree(first, last),
      nextInstructions: () => this.cpus.map(nextInstruction).filter((each) => each !== undefined),
    });
    this.devices = new Devices({
      libc,
      vm,
      vcpu: parts.cpus[0].vcpu,
      irqchip,
      pit,
      portOutput: this.portOutput,
      checkIsNoRam: (first, last) => this.memory.checkIsNoRam(first, last),
    });
    this.cpus = parts.cpus.map((cpu, number) => new Cpu(number, cpu, this));
    this.#timers = settings.devices.length > 0 || settings.clock !== undefined
      ? new Timers(settings.clock ?? new HostClock(), () => this.#checkTime())
      : undefined;
    if (settings.isTraced) this.trace = new ExitTrace(parts.slots, this.#device(TextScreen));
    this.#limit = new TimeLimit(libc, parts.timeoutScale, this.#tick);
    const slice = this.cpus.length === 1
      ? undefined
      : new TimeSlice((milliseconds) => this.#limit.interrupt(milliseconds));
    const runners = this.#runners = this.cpus.map((cpu) => this.#runner(cpu, slice));
    this.runControl = new RunControl({
      runners,
      scheduler: slice &&
        new CpuScheduler({
          runners,
          slice,
          interleaving: interleaving ?? new RoundRobin(),
          log: this.log,
          inputs: this.inputs,
          hasEvent: () => this.#hasEvent,
        }),
      limit: this.#limit,
      log: this.log,
      timeout,
      exitPort: settings.exitPort === undefined
        ? undefined
        : new ExitPort(() => this.runControl.stop()),
      checkUsable: (what) => this.checkUsable(what),
      takeEvent: () => this.#attached.takeEvent() ?? this.kick.take(),
      pendingOfDevices: () => this.#attached.pending,
      reset: (isInit) => this.#reset(isInit),
      checkStrictly: () => this.checkStrictly?.(),
      ends: new RunEnds(settings),
      beforeRun: () => {
        this.#coverage?.beforeRun();
        this.trace?.begin();
      },
      isMemoryViewed: () => this.hasViews,
    });
    if (interleaving !== undefined) {
      for (const { debug } of this.cpus) debug.countInstructions();
    }
    if (dirtyPages !== undefined) {
      const answer = () => dirtyPages.harvest();
      this.handlers.onRaw("DIRTY_RING_FULL", { name: "the dirty ring", answer });
    }
    this.#attached = new AttachedDevices({
      ports: this.devices.ports,
      mmio: this.devices.mmio,
      memory: this.memory,
      slots: parts.slots,
      placeRom: (gpa, content) => new ReadonlyMemory(parts.slots, gpa, content),
      shadowRam: new ShadowRam(parts.slots, this.devices.mmio),
      cpu: () => deviceCpu(this.exitingCpu),
      // Without devices nobody asks for the time.
      timers: this.#timers ?? new Timers(new TestClock()),
      vm,
      irqchip,
      interrupts: () => this.devices.interrupts,
      cpuCount: this.cpus.length,
      describe: (text) => this.log.setDescription(text),
      connect: (controller) => this.cpus[0].interrupts.connect(controller),
    });
    this.snapshots = new Snapshots({
      vm,
      cpus: this.cpus,
      runners,
      progress: this.runControl.progress,
      libc,
      kvm,
      image,
      mode,
      slots: parts.slots,
      kernelDevices: settings,
      devices: this.devices,
      handlers: this.handlers,
      intercepts: this.intercepts,
      attached: this.#attached,
      log: this.log,
      portOutput: this.portOutput,
    });
    if (serial) this.#attached.attach(this.serial = new Uart("COM1"));
    if (exitPort !== undefined) this.devices.ports.on(exitPort, this.runControl.exitPort!);
    if (settings.hasOpenBus) {
      this.devices.ports.otherwise(openBusPorts);
      this.devices.mmio.otherwise(openBusMmio);
    }
  }

  /** Puts the devices on the board. To be called once, when the guest is loaded. */
  attachDevices(): void {
    const { settings } = this.#parts;
    // Without devices, too: a guest resets the machine by Hyper-V's MSR.
    this.#kernelReset = new KernelReset(this.vm, this.cpus, settings);
    for (const device of settings.devices) this.#attached.attach(device);
  }

  /** See {@linkcode InterruptControllers.pic}. */
  get pic(): InterruptControllers["pic"] {
    if (this.irqchip === true) return this.devices.interrupts.pic;
    return this.#device(Pic)?.registers;
  }

  /** See {@linkcode InterruptControllers.ioapic}. */
  get ioapic(): InterruptControllers["ioapic"] {
    return this.#parts.settings.irqchip === true ? this.devices.interrupts.ioapic : undefined;
  }

  /** Begins to note which instructions the guest executes, where that is to be. To be called once, when all is in place. */
  beginCoverage(): void {
    if (this.#parts.settings.coverage) this.#coverage = new CodeCoverage(this);
  }

  /** See {@linkcode Machine.snapshot}: memory in it is the guest's own. */
  takeSnapshot(): Snapshot {
    return this.#coverage?.withoutTraps(() => this.snapshots.take()) ?? this.snapshots.take();
  }

  /** See {@linkcode Machine.restore}; of another machine: {@linkcode Template.fork}. */
  restore(snapshot: Snapshot, isOfOther = false): void {
    this.inputs.end();
    if (isOfOther) this.snapshots.adopt(snapshot);
    else this.snapshots.restore(snapshot);
    this.#coverage?.setTrapsAgain();
    this.start = snapshot;
    this.#recordInputs();
  }

  /** Begins to record what comes to the guest from outside. To be called once, when the guest is loaded. */
  beginRecord(): void {
    this.#bootSlots = this.memory.slots;
    this.inputs.observe(this.vm, this.cpus);
    this.#parts.slots.observe(this.inputs);
    this.#recordInputs();
  }

  #recordInputs(): void {
    const { inputs } = this;
    if (this.interleaving !== undefined) inputs.end("its CPUs are interleaved by a seed");
    else if (this.#parts.settings.coverage) inputs.end("its coverage is noted");
    else if (this.memory.slots === this.#bootSlots && this.#parts.slots.a20) inputs.begin();
    else inputs.end("it had other memory slots when it came to the snapshot than at boot");
  }

  /** Whether somebody holds guest memory itself, so that what is written to it is not recorded. */
  get hasViews(): boolean {
    return this.#parts.slots.hasViews;
  }

  /** Does to memory what was done to another machine's, which was booted in the same way. */
  takeMemory(input: MemoryInput): void {
    this.#parts.slots.take(input);
  }

  /** See {@linkcode Machine.coverage}. */
  get coverage(): Coverage {
    if (this.#coverage !== undefined) return this.#coverage;
    throw new TypeError("Cannot ask for coverage: boot the machine with `coverage: true`");
  }

  /** See {@linkcode Machine.screen}. */
  get screen(): TextScreen {
    const screen = this.#device(TextScreen);
    if (screen !== undefined) return screen;
    throw new TypeError(
      "Cannot look at the screen: the machine has none. Boot it with `devices: [new TextScreen()]`.",
    );
  }

  /** See {@linkcode Machine.hasBios}. */
  get hasBios(): boolean {
    return this.#device(Bios) !== undefined;
  }

  #device<Kind extends Device>(kind: new (...parameters: never[]) => Kind): Kind | undefined {
    return this.#parts.settings.devices.find((device): device is Kind => device instanceof kind);
  }

  /** See {@linkcode Machine.bios}. */
  get bios(): Bios {
    const bios = this.#device(Bios);
    if (bios !== undefined) return bios;
    throw new TypeError(
      "Cannot look at the BIOS: the machine has none. Boot it with `devices: [new Bios()]`.",
    );
  }

  /** Throws where the time limit of the run is over: a device lets time pass. */
  #checkTime(): void {
    if (this.runControl.progress.isRunning && this.#limit.isOver()) {
      throw new TimeLimitError(this.exitingCpu, this.#limit.milliseconds);
    }
  }

  get #hasEvent(): boolean {
    return this.#attached.hasEvent || this.kick.isAsked;
  }

  /** See {@linkcode Injection.init}. */
  askForInit(): void {
    this.#attached.init(true);
    callForAttention(this.cpus);
  }

  #reset(isInit: boolean): void {
    if (isInit) return this.cpus.forEach(initCpu);
    this.#kernelReset?.perform();
    this.#attached.resetDevices();
    for (const { parts } of this.#runners) parts.loop.reset();
  }

  /** What the guest wrote to its exit port in its latest run. */
  get exitStatus(): number | undefined {
    return this.runControl.exitPort?.status;
  }

  /** Whether the guest has been run at all. */
  get hasRun(): boolean {
    return this.runControl.hasRun;
  }

  /** The CPU of the latest exit; the first before that. */
  get exitingCpu(): Cpu {
    return this.cpus[this.log.latest?.cpu ?? 0];
  }

  /** How far a CPU has come. */
  progressOf(cpu: number): CpuProgress {
    return this.#runners[cpu];
  }

  /** See {@linkcode RunProgress.checkStopped}. */
  checkStopped(what: string): void {
    this.runControl.progress.checkStopped(what);
  }

  /** See {@linkcode MachineCpu.checkUsable}. Whoever asks may look at what the latest exit has done. */
  checkUsable(what: string): void {
    if (this.#disposed) {
      throw new TypeError(
        `Cannot ${what}: the machine is disposed. Look at it before its \`using\` ends.`,
      );
    }
    this.cpus.forEach(finishExit);
  }

  /**
   * Closes the VM and lets go of its memory; a second call does nothing.
   *
   * @throws {TypeError} From inside one of the machine's own handlers.
   */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    if (this.runControl.progress.isRunning) {
      throw new TypeError(
        "Cannot dispose the machine: it is running. Call vm.stop() in the handler, and dispose it when run() has returned.",
      );
    }
    this.#disposed = true;
    this.examiner?.[Symbol.dispose]();
    this.#limit[Symbol.dispose]();
    this.devices[Symbol.dispose]();
    this.#attached?.[Symbol.dispose]();
    this.snapshots?.[Symbol.dispose]();
    this.#parts.dirtyPages?.[Symbol.dispose]();
    const { keep } = this.#parts;
    if (keep === undefined || !showsAllState(this.log, this.#runners) || !keep()) {
      for (const { vcpu } of this.cpus) vcpu[Symbol.dispose]();
      this.vm[Symbol.dispose]();
      this.kvm[Symbol.dispose]();
    }
    this.#parts.slots[Symbol.dispose]();
    for (const { store } of this.cpus) store.forget();
    this.#coverage?.[Symbol.dispose]();
  }

  /** How often the guest is interrupted, in milliseconds; undefined where there is no need. */
  get #tick(): number | undefined {
    if (this.#parts.cpus.length > 1) return SLICE_MILLISECONDS;
    if (this.#timers !== undefined) return DEVICE_MILLISECONDS;
    return this.irqchip === false ? undefined : LOOK_MILLISECONDS;
  }

  #runner(cpu: Cpu, slice: TimeSlice | undefined): CpuRunner {
    const { vm, image, irqchip, devices, handlers, log, inputs, portOutput } = this;
    const { number, vcpu, store, registers, linear, debug, inject, interrupts } = cpu;
    const { faultCatcher: place } = this.#parts.settings;
    const limit = this.#limit;
    const halt = irqchip === false || slice !== undefined ? undefined : new HaltWatch(vcpu);
    const loop = new RunLoop({
      vcpu,
      cpu: number,
      slice,
      ports: devices.portTable,
      mmio: devices.mmioTable,
      coalesced: devices.coalesced,
      timers: this.#timers,
      hasEvent: () => this.#hasEvent,
      isKickable: () => this.kick.isUsed,
      halt,
      handlers,
      log,
      inputs,
      portOutput,
      limit,
      debug,
      coverage: this.#parts.settings.coverage
        ? { takesExit: () => this.#coverage?.takesExit(cpu) ?? false }
        : undefined,
      watcher: this.trace && (() => {
        const begin = performance.now();
        this.trace!.note(cpu, vcpu.kvmRun.exit());
        limit.leaveOut(performance.now() - begin);
      }),
      interrupts,
      store,
      timeOver: () => {
        throw new TimeLimitError(cpu, limit.milliseconds);
      },
    });
    return new CpuRunner({
      cpu,
      vcpu,
      store,
      debug,
      inject,
      loop,
      halt,
      activity: slice && new ActivityState({ vm, vcpu, store, irqchip, interrupts }),
      spin: slice && new SpinWatch(() => store.view("general")),
      catcher: place &&
        new FaultCatcher({
          vcpu,
          store,
          registers,
          linear,
          image,
          place,
          interrupts: new ExternalInterrupts({ vm, vcpu, irqchip, queue: interrupts }),
        }),
    });
  }
}
