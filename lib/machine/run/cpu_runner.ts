import type { Exit } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import {
  type Injection,
  type InjectionState,
  restoreInjection,
  saveInjection,
} from "../interrupts/injection.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import type { ActivityState, HaltWatch } from "./activity_state.ts";
import { FaultCatcher } from "../faults/fault_catcher.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { DebugControl, DebugState } from "./guest_debug.ts";
import type { RegisterStore, WatchedPlace } from "../registers/register_store.ts";
import { isPowerOff } from "./run_ends.ts";
import type { PlainEnd } from "./plain_run.ts";
import { CallError } from "./run_errors.ts";
import type { RunLoop } from "./run_loop.ts";
import type { ExitFollower, WriteFollower } from "./run_options.ts";
import type { SpinWatch } from "./spin_watch.ts";

/** How far a CPU has come. */
export interface CpuProgress {
  /** Its latest exit that test code has seen. */
  readonly lastExit: Exit | undefined;
  /** The latest fault that its fault catcher has reported. */
  readonly lastFault: CaughtFault | undefined;
  /** Whether it stands at its latest exit. */
  readonly isAtExit: boolean;
}

/** A routine that was called, and whose call ended before it returned. */
interface GivenUpCall {
  /** The routine as the test named it. */
  readonly name: string;
  /** Whether the latest exit is that of its return all the same. */
  readonly comesBack: boolean;
}

/** What a runner is made of. */
export interface CpuRunnerInit {
  readonly cpu: StoppedCpu;
  readonly vcpu: Vcpu;
  readonly store: RegisterStore;
  readonly debug: DebugControl;
  readonly inject: Injection;
  readonly loop: RunLoop;
  /** Finds a HLT that is no exit, where the kernel has the local APIC and there is no other CPU. */
  readonly halt: HaltWatch | undefined;
  /** Knows what it waits for, where there are other CPUs. */
  readonly activity: ActivityState | undefined;
  /** Finds that it spins, where there are other CPUs. */
  readonly spin: SpinWatch | undefined;
  /** What recognises the guest's faults, where it was booted to report them. */
  readonly catcher: FaultCatcher | undefined;
}

/** An exit that test code has seen. */
interface SeenExit {
  readonly exit: Exit;
  /** How often the CPU's registers had been set by then. */
  readonly timesSet: number;
}

/** How far a CPU has come, at some time. */
export interface CpuRunState {
  readonly loop: Readonly<Record<"isAtExit" | "holdsExit", boolean>>;
  readonly seen: { readonly exit: Exit; readonly isCurrent: boolean } | undefined;
  readonly lastFault: CaughtFault | undefined;
  readonly givenUp: readonly GivenUpCall[];
  readonly place: WatchedPlace;
  readonly kvmRun: Uint8Array<ArrayBuffer>;
  readonly debug: DebugState;
  readonly injected: InjectionState;
  readonly activity: ReturnType<ActivityState["save"]> | undefined;
}

/** A CPU on its way: all that running it takes, and how far it has come. */
export class CpuRunner implements CpuProgress {
  /** What it is made of. */
  readonly parts: CpuRunnerInit;
  /** The latest fault that its fault catcher has reported. */
  lastFault: CaughtFault | undefined;
  /** Its latest exit that test code has seen, and where it stood. */
  seen: SeenExit | undefined;
  /** The calls on it that were given up: run on, it goes on inside their routines. */
  readonly givenUp: GivenUpCall[] = [];

  /** The runner of one CPU, which has not run yet. */
  constructor(parts: CpuRunnerInit) {
    this.parts = parts;
  }

  /** How far it has come, for a snapshot. Its guest stands between two instructions. */
  save(): CpuRunState {
    const { vcpu, store, debug, inject, loop, activity } = this.parts;
    const { seen } = this;
    return {
      loop: { isAtExit: loop.isAtExit, holdsExit: loop.holdsExit },
      seen: seen && { exit: seen.exit, isCurrent: seen.timesSet === store.timesSet },
      lastFault: this.lastFault,
      givenUp: [...this.givenUp],
      place: store.savePlace(),
      kvmRun: vcpu.kvmRun.save(),
      debug: debug.save(),
      injected: saveInjection(inject),
      activity: activity?.save(),
    };
  }

  /** Goes back to where it was. Its registers are set already. */
  restore(state: CpuRunState): void {
    const { vcpu, store, debug, inject, loop, activity, spin } = this.parts;
    const { seen } = state;
    loop.reset(state.loop);
    this.seen = seen && { exit: seen.exit, timesSet: store.timesSet - (seen.isCurrent ? 0 : 1) };
    this.lastFault = state.lastFault;
    if (this.givenUp.length > 0 || state.givenUp.length > 0) {
      this.givenUp.splice(0, Infinity, ...state.givenUp);
    }
    store.restorePlace(state.place);
    vcpu.kvmRun.restore(state.kvmRun);
    debug.restore(state.debug);
    restoreInjection(inject, state.injected);
    if (state.activity !== undefined) activity?.restore(state.activity);
    spin?.forget();
  }

  /** Its latest exit that test code has seen. */
  get lastExit(): Exit | undefined {
    return this.seen?.exit;
  }

  /** Notes an exit that test code sees. */
  see(exit: Exit): Exit {
    const { store } = this.parts;
    // Behind other exits KVM may still move it, when they are completed.
    store.watchPlace(exit.reason === "HLT" || exit.reason === "SHUTDOWN");
    this.seen = { exit, timesSet: store.timesSet };
    return exit;
  }

  /** The same of the exit that `kvm_run` holds. */
  seeLatest(): Exit {
    return this.see(this.parts.vcpu.kvmRun.exit());
  }

  /** See {@linkcode RunLoop.runPlain}; undefined where a port access concerns others than its handler. */
  runPlain(follower?: WriteFollower): PlainEnd | undefined {
    const { activity, catcher, loop } = this.parts;
    const isPlain = activity === undefined && catcher === undefined && this.givenUp.length === 0;
    return isPlain ? loop.runPlain(follower) : undefined;
  }

  /** Whether somebody takes the latest exit without having it decoded. It is answered then, if it can be. */
  isTakenBy(follower: ExitFollower): boolean {
    const { loop, catcher, cpu, vcpu: { kvmRun } } = this.parts;
    if (catcher !== undefined && FaultCatcher.isCandidate(kvmRun)) return false;
    this.checkIsGuests();
    const taken = follower.takes(kvmRun, cpu.number);
    if (taken === undefined) return false;
    if (taken.bytes !== undefined) loop.answer(taken.bytes, follower.by);
    else {
      // What a transcript foresees, a device sees all the same: a serial line keeps its text.
      loop.dispatch();
      loop.acknowledge(follower.by);
    }
    return true;
  }

  /** @throws {CallError} When the latest exit is not the guest's, but that to which a call's routine returns. */
  checkIsGuests(): void {
    // At every exit: nothing is allocated where no call was given up.
    if (this.givenUp.length === 0) return;
    const call = this.givenUp.find(({ comesBack }) => comesBack);
    if (call === undefined) return;
    throw new CallError(
      this.parts.cpu,
      `${call.name} has returned, and its call was given up before: the guest has no code behind it. Set ` +
        "vm.registers.rip to where the guest is to go on",
    );
  }

  /** Whether it has shut down, and nobody has set its registers since: there is nothing that it could run. */
  get isShutDown(): boolean {
    if (this.seen === undefined || this.seen.timesSet !== this.parts.store.timesSet) return false;
    return this.seen.exit.reason === "SHUTDOWN" || isPowerOff(this.seen.exit);
  }

  /** Whether the CPU stands at its latest exit: it has not run on, nor was it brought elsewhere. */
  get isAtExit(): boolean {
    const { loop, store } = this.parts;
    return loop.isAtExit && !store.hasLeftPlace;
  }
}
