import { MSRS } from "../../x86/msrs/msrs.ts";
import type { Libc } from "../../ffi/libc.ts";
import type { Image } from "../../guest/image.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { PlacedHandler } from "../../devices/handlers.ts";
import type { AttachedDevices } from "../buses/attached_devices.ts";
import type { Devices } from "../buses/devices.ts";
import type { PortRecorder } from "../buses/port_output.ts";
import type { ExitHandlers } from "../exits/exit_handlers.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { MemorySlots } from "../memory/physical_memory.ts";
import type { CpuRunner } from "../run/cpu_runner.ts";
import type { MsrIntercepts } from "../msrs/msr_intercepts.ts";
import { CaughtFault } from "../faults/caught_fault.ts";
import type { RunProgress, RunState } from "../run/run_progress.ts";
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
import { restoreHandlers, saveHandlers } from "./handler_states.ts";
import { difference, type MachineIdentity, machineIdentity } from "./identity.ts";
import type { MachineState } from "./machine_state.ts";
import { CpuWatch } from "./cpu_watch.ts";
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
  /** The C library that every call goes through. */
  readonly libc: Libc;
  /** The open `/dev/kvm`. */
  readonly kvm: Kvm;
  /** The guest as it was loaded. */
  readonly image: Image;
  /** The mode in which it was booted. */
  readonly mode: string;
  /** Its memory. */
  readonly slots: MemorySlots;
  /** Which controllers the kernel has. */
  readonly kernelDevices: KernelDevices;
  /** Its buses. */
  readonly devices: Devices;
  /** Who takes exits that are neither IO nor MMIO. */
  readonly handlers: ExitHandlers;
  /** Who takes accesses to MSRs. */
  readonly intercepts: MsrIntercepts;
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
  /** Of the CPUs, by number: none before the first snapshot. */
  #watches: readonly CpuWatch[] = [];

  /** Of a machine of which there are none. */
  constructor(parts: SnapshotsInit) {
    this.#parts = parts;
  }

  /** See {@linkcode Machine.snapshot}. */
  take(): Snapshot {
    const { progress } = this.#parts;
    progress.checkIsFree("take a snapshot");
    progress.checkIsBetweenInstructions("take a snapshot");
    return new Snapshot({ owner: this, identity: () => this.#identity(), state: this.#save() });
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
    const { owner, state, identity } = contentsOf(snapshot);
    if (owner === undefined) {
      const other = difference(identity(), this.#identity());
      if (other === undefined) return this.adopt(snapshot);
      throw new TypeError(
        `Cannot restore the snapshot: it is of another kind of machine, or of another host. ${other}`,
      );
    }
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
    this.#watches = shapes.map((shape, number) => new CpuWatch(cpus[number], shape));
    return shapes;
  }

  /** What kind of machine it is, and on what. */
  #identity(): MachineIdentity {
    this.#parts.progress.checkIsFree("save a snapshot, which says what kind of machine it is of");
    return machineIdentity({ ...this.#parts, devices: this.#parts.attached.names });
  }

  /** Closes what it has opened. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
  }

  /**
   * Makes a machine that was just booted what another one was, which was booted in the same way.
   *
   * @throws {TypeError | RangeError} When the other one had CPUs, slots, devices or handlers that this one has not, or the
   *   other way round.
   */
  adopt(snapshot: Snapshot): void {
    const { state } = contentsOf(snapshot);
    this.#parts.slots.checkIsRestorable(state.memory, true);
    checkIsSame("CPUs", [`${state.cpus.length} CPUs`], [`${this.#parts.cpus.length} CPUs`]);
    checkIsSame("devices", state.board.names, this.#parts.attached.names);
    // Its handlers are the other's by where they are.
    this.#restore({
      ...state,
      handlerStates: state.handlerStates.map(({ place, state }) => ({ place, state })),
      run: withImage(state.run, this.#parts.image),
    });
    // Guests map functions of PCI, so that some are there only now.
    checkIsSame("handlers", state.handlers, this.#handlers().map(placeOf));
  }

  /**
   * Makes the guest what another machine's was, which has the same CPUs and the same memory: what is in the kernel, and
   * nothing of devices, handlers and the log.
   */
  enter(snapshot: Snapshot): void {
    const { vm, cpus, runners, slots } = this.#parts;
    const { memory, controllers, cpus: saved, timers, run } = contentsOf(snapshot).state;
    slots.checkIsRestorable(memory, true);
    slots.restore(memory);
    restoreVm(vm, controllers);
    for (const [number, cpu] of cpus.entries()) {
      restoreCpu(cpu, saved[number]);
      runners[number].parts.vcpu.kvmRun.restore(run.cpus[number].kvmRun);
    }
    restoreVm(vm, timers);
  }

  /** Whoever takes exits. */
  #handlers(): readonly PlacedHandler[] {
    const { devices, handlers, intercepts } = this.#parts;
    const tables = [devices.portTable, devices.mmioTable, handlers, intercepts];
    return tables.flatMap(({ placed }) => placed);
  }

  #save(): MachineState {
    const { vm, cpus, progress, slots, kernelDevices, attached, log, portOutput } = this.#parts;
    const shapes = this.#shapes ??= this.#begin();
    const hasClock = cpus.some(({ vcpu }) =>
      vcpu.msrs.getMsrs(CLOCK_MSRS).some(({ data }) => data !== 0n)
    );
    const handlers = this.#handlers();
    const states = cpus.map((cpu, number) => saveCpu(cpu, shapes[number]));
    for (const [number, watch] of this.#watches.entries()) {
      // What it has to do with nested guests since the latest look is still to be undone by a restore.
      watch.isInside = watch.look() || usesNesting(states[number]);
      watch.has(states[number]);
    }
    return {
      cpus: states,
      controllers: saveVm(vm, CONTROLLERS, kernelDevices),
      timers: saveVm(vm, hasClock ? [INTERVAL_TIMER, KVM_CLOCK] : [INTERVAL_TIMER], kernelDevices),
      run: progress.save(),
      board: attached.save(),
      handlerStates: saveHandlers(handlers),
      handlers: handlers.map(placeOf),
      log: log.save(),
      portOutput: portOutput.save(),
      memory: slots.save(),
    };
  }

  /** In an order in which nothing of what was set is changed by what comes behind it. */
  #restore(state: MachineState): void {
    const { vm, cpus, runners, progress, slots, devices, attached, log, portOutput } = this.#parts;
    for (const { parts: { vcpu, loop } } of runners) abandonInstruction(vcpu, loop);
    const nested = this.#watches.map((watch) => watch.look());
    devices.coalesced.discard();
    attached.restore(state.board);
    restoreHandlers(() => this.#handlers(), state.handlerStates);
    // Devices may have written to it, and the CPUs' tables for PAE paging are loaded from it.
    slots.restore(state.memory);
    if (nested.some((each) => each)) slots.dropPageTables();
    restoreVm(vm, state.controllers);
    for (const [number, cpu] of cpus.entries()) {
      const saved = state.cpus[number];
      const isUsed = usesNesting(saved);
      const watch = this.#watches.at(number);
      restoreCpu(cpu, saved, {
        isOutside: !isUsed && !nested[number] && !watch?.isVmx,
        isThere: watch?.stillHas(saved) ?? false,
      });
      if (watch === undefined) continue;
      watch.isInside = isUsed;
      watch.has(saved);
    }
    restoreVm(vm, state.timers);
    progress.restore(state.run);
    log.restore(state.log);
    portOutput.restore(state.portOutput);
  }
}

const placeOf = ({ place }: PlacedHandler) => place;

/** @throws {TypeError} When one machine has what another has not that is to be like it. */
function checkIsSame(what: string, then: readonly string[], now: readonly string[]): void {
  const gone = then.filter((each) => !now.includes(each));
  const added = now.filter((each) => !then.includes(each));
  if (gone.length === 0 && added.length === 0 && then.length === now.length) return;
  throw new TypeError(
    `Cannot fork the machine: its ${what} are not those that it was booted with. ` +
      (gone.length > 0 ? `It had also ${gone.join(", ")}. ` : "") +
      (added.length > 0 ? `It no longer had ${added.join(", ")}. ` : "") +
      "Give them to boot(), in the function that boots it: each fork is booted by that",
  );
}

/** Faults from a file are plain data, without the guest whose they are. */
function withImage(run: RunState, image: Image): RunState {
  const faultOf = (fault: CaughtFault | undefined) =>
    fault === undefined || fault instanceof CaughtFault ? fault : new CaughtFault(fault, image);
  return { ...run, cpus: run.cpus.map((cpu) => ({ ...cpu, lastFault: faultOf(cpu.lastFault) })) };
}
