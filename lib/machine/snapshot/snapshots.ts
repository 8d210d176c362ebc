import { MSRS } from "../../x86/msrs/msrs.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { AttachedDevices } from "../buses/attached_devices.ts";
import type { Devices } from "../buses/devices.ts";
import type { PortRecorder } from "../buses/port_output.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { MemorySlots } from "../memory/physical_memory.ts";
import type { CpuRunner } from "../run/cpu_runner.ts";
import type { RunProgress } from "../run/run_progress.ts";
import {
  CONTROLLERS,
  INTERVAL_TIMER,
  type KernelDevices,
  KVM_CLOCK,
  restoreVm,
  saveVm,
} from "./controllers_state.ts";
import {
  type CpuShape,
  cpuShape,
  restoreCpu,
  saveCpu,
  type StatefulCpu,
  usesNesting,
} from "./cpu_state.ts";
import type { MachineState } from "./machine_state.ts";
import { NestedWatch } from "./nested_watch.ts";
import { contentsOf, isSnapshot, Snapshot } from "./snapshot.ts";
import { abandonInstruction } from "./unfinished.ts";

/** What snapshots are taken of. */
interface SnapshotsInit {
  /** The virtual machine. */
  readonly vm: Vm;
  /** Its CPUs, by number. */
  readonly cpus: readonly StatefulCpu[];
  /** What runs them. */
  readonly runners: readonly CpuRunner[];
  /** How far they have come. */
  readonly progress: RunProgress;
  /** Its memory. */
  readonly slots: MemorySlots;
  /** Which controllers the kernel has. */
  readonly kernelDevices: KernelDevices;
  /** Its buses. */
  readonly devices: Devices;
  /** Its devices. */
  readonly attached: AttachedDevices;
  /** The last exits. */
  readonly log: ExitRecorder;
  /** What the guest wrote to its ports. */
  readonly portOutput: PortRecorder;
}

/** By these a guest switches kvmclock on. */
const CLOCK_MSRS = [MSRS.KVM_SYSTEM_TIME, MSRS.KVM_SYSTEM_TIME_NEW];

/** Takes snapshots of one machine, and restores them. */
export class Snapshots implements Disposable {
  readonly #parts: SnapshotsInit;
  /** What the CPUs' states are made of; undefined before the first snapshot. */
  #shapes: readonly CpuShape[] | undefined;
  /** Of those CPUs that have SVM or VMX. */
  #watches: readonly (NestedWatch | undefined)[] = [];

  /** Of a machine of which there are none. */
  constructor(parts: SnapshotsInit) {
    this.#parts = parts;
  }

  /** See {@linkcode Machine.snapshot}. */
  take(): Snapshot {
    const { progress } = this.#parts;
    progress.checkIsFree("take a snapshot");
    progress.checkIsBetweenInstructions("take a snapshot");
    return new Snapshot({ owner: this, state: this.#save() });
  }

  /** See {@linkcode Machine.restore}. */
  restore(snapshot: Snapshot): void {
    const { progress, slots } = this.#parts;
    progress.checkIsFree("restore a snapshot");
    if (!isSnapshot(snapshot)) {
      throw new TypeError(
        `Cannot restore ${
          snapshot === null ? "null" : `a value of type ${typeof snapshot}`
        }: give what vm.snapshot() returned`,
      );
    }
    const { owner, state } = contentsOf(snapshot);
    if (owner !== this) {
      throw new TypeError(
        "Cannot restore the snapshot: it is another machine's. Take one of this machine, by vm.snapshot().",
      );
    }
    slots.checkIsRestorable(state.memory);
    this.#restore(state);
  }

  #begin(): CpuShape[] {
    const { cpus } = this.#parts;
    const shapes = cpus.map((cpu) => cpuShape(cpu));
    this.#watches = shapes.map(({ isNested }, number) =>
      isNested ? new NestedWatch(cpus[number].vcpu) : undefined
    );
    return shapes;
  }

  /** Closes what it has opened. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch?.[Symbol.dispose]();
  }

  #save(): MachineState {
    const { vm, cpus, progress, slots, kernelDevices, devices, attached, log, portOutput } =
      this.#parts;
    const shapes = this.#shapes ??= this.#begin();
    const hasClock = cpus.some(({ vcpu }) =>
      vcpu.msrs.getMsrs(CLOCK_MSRS).some(({ data }) => data !== 0n)
    );
    const states = cpus.map((cpu, number) => saveCpu(cpu, shapes[number]));
    for (const [number, watch] of this.#watches.entries()) {
      // What it has to do with nested guests since the latest look is still to be undone by a restore.
      if (watch !== undefined) watch.isInside = watch.look() || usesNesting(states[number]);
    }
    return {
      cpus: states,
      controllers: saveVm(vm, CONTROLLERS, kernelDevices),
      timers: saveVm(vm, hasClock ? [INTERVAL_TIMER, KVM_CLOCK] : [INTERVAL_TIMER], kernelDevices),
      run: progress.save(),
      board: attached.save(),
      ports: devices.portTable.save(),
      mmio: devices.mmioTable.save(),
      log: log.save(),
      portOutput: portOutput.save(),
      memory: slots.save(),
    };
  }

  /** In an order in which nothing of what was set is changed by what comes behind it. */
  #restore(state: MachineState): void {
    const { vm, cpus, runners, progress, slots, devices, attached, log, portOutput } = this.#parts;
    for (const { parts: { vcpu, loop } } of runners) abandonInstruction(vcpu, loop);
    const nested = this.#watches.map((watch) => watch?.look() ?? false);
    devices.coalesced.discard();
    attached.restore(state.board);
    devices.portTable.restore(state.ports);
    devices.mmioTable.restore(state.mmio);
    // Devices may have written to it, and the CPUs' tables for PAE paging are loaded from it.
    slots.restore(state.memory);
    if (nested.some((each) => each)) slots.dropPageTables();
    restoreVm(vm, state.controllers);
    for (const [number, cpu] of cpus.entries()) {
      const saved = state.cpus[number];
      const isUsed = usesNesting(saved);
      restoreCpu(cpu, saved, !isUsed && !nested[number]);
      const watch = this.#watches[number];
      if (watch !== undefined) watch.isInside = isUsed;
    }
    restoreVm(vm, state.timers);
    progress.restore(state.run);
    log.restore(state.log);
    portOutput.restore(state.portOutput);
  }
}
