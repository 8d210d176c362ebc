import { HostError } from "../../ffi/errors.ts";
import { type Address, checkAddress } from "../../guest/address.ts";
import { atCaller } from "../../guest/call_site.ts";
import { EXIT_REASON, KVM_GUESTDBG } from "../../kvm/abi/mod.ts";
import type { DebugExit } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { type DebugPoint, debugRegisters } from "../../x86/registers/debug_registers.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";

/** Bits 0 to 3 of DR6: which breakpoints it was; bit 14: a step (Intel SDM Vol. 3B, 17.2.3). */
const DR6_BREAKPOINTS = 0xfn;
const DR6_STEP = 1n << 14n;

/** The exception that `int3` raises. */
const BREAKPOINT_EXCEPTION = 3;

/** Where a guest is to stop, until it is disposed. */
export interface Breakpoint extends Disposable {
  /** The linear address. */
  readonly address: bigint;
  /** How often the guest has stopped there. */
  readonly hits: number;
  /** Takes it away. */
  [Symbol.dispose](): void;
}

/** How {@linkcode GuestDebug.breakAt} stops the guest. */
export interface BreakOptions {
  /**
   * `"register"`: by a debug register; the guest runs at full speed. There are 4, which watchpoints take as well.
   * `"step"`: by executing the guest one instruction at a time, as {@linkcode Machine.step} does; slow, and of what an
   * exception or an interrupt calls it sees nothing until that returns.
   *
   * Default `"register"`; in the nested machine of QEMU, whose debug registers do not stop a guest, `"step"`.
   */
  readonly by?: "register" | "step";
}

/** What {@linkcode GuestDebug.watch} waits for. */
export interface WatchOptions {
  /** How many bytes; the address is a multiple of it. Default 1. */
  readonly size?: 1 | 2 | 4 | 8;
  /** `"write"`, the default, or `"access"`: reads as well. */
  readonly on?: "write" | "access";
}

const BREAK_OPTIONS: NamesOf<BreakOptions> = { by: "value" };
const WATCH_OPTIONS: NamesOf<WatchOptions> = { size: "value", on: "value" };

/** What a machine's debugging needs of it. */
export interface DebugControlInit {
  /** What the kernel is told about. */
  readonly vcpu: Vcpu;
  /** The linear address of the next instruction. */
  readonly nextInstruction: () => bigint;
  /** Whether the test has set where the CPU goes on. */
  readonly isMoved: () => boolean;
  /** The linear addresses of a place in the source: several of a line that was inlined into several functions. */
  readonly addressesOf: (place: string) => readonly bigint[];
  /** Throws when the machine is disposed. */
  readonly checkUsable: (what: string) => void;
}

/** Who hears of each instruction of a guest that is stepped. */
export interface StepFollower {
  /** The CPU is about to execute the one at a linear address, unless it waits in HLT. */
  enters(linear: bigint): void;
  /** It has executed one, the last that it was about to. */
  stepped(): void;
}

/** Who takes exits that are not the guest's, but of what counts which instructions it executes. */
export interface CoverageExits {
  /** Whether the exit in `kvm_run` is one, behind which the guest is to run on as if it were none. */
  takesExit(): boolean;
}

interface Point extends DebugPoint {
  /** Its number: that of no other breakpoint of this CPU. */
  readonly number: number;
  readonly by: NonNullable<BreakOptions["by"]>;
  hits: number;
}

/**
 * What stops a guest for a look: `vm.debug`. Where it stops, `run` returns the DEBUG exit, in a transcript it is
 * `exit("DEBUG")`, and the machine can be run on.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov cx, 3
 * again:
 *   dec cx
 *   jnz again
 *   hlt
 * `);
 * using again = vm.debug.breakAt("again");
 * while (vm.run().reason === "DEBUG") console.log(vm.registers.cx);
 * console.log(again.hits); // 3
 * ```
 */
export interface GuestDebug {
  /**
   * Stops the guest whenever it is about to execute the instruction at a linear address, a label, a function
   * (`"kernel::Queue::take"`) or a line of its source (`"kernel.c:78"`; of one that was inlined into several functions in
   * each of them).
   *
   * By a debug register it is stopped there at once where it stands there already; by steps it goes on past it.
   *
   * @returns The breakpoint; dispose it to take it away.
   * @throws {RangeError} When there is no such label, it is no address, or all 4 debug registers are taken.
   * @throws {HostError} When debug registers are asked for where they do not stop a guest.
   */
  breakAt(where: Address, options?: BreakOptions): Breakpoint;

  /**
   * Stops the guest behind each instruction that has written to some bytes at a linear address, or accessed
   * them. KVM's own accesses (the instructions that it emulates, those of devices) are not seen.
   *
   * @returns The watchpoint; dispose it to take it away.
   * @throws {RangeError} When there is no such label, the address is no multiple of the size, or all 4 debug
   *   registers are taken.
   * @throws {HostError} Where debug registers do not stop a guest: in the nested machine of QEMU.
   */
  watch(where: Address, options?: WatchOptions): Breakpoint;

  /**
   * Stops the guest at each `int3` that it executes; rip is at it, and the guest takes no #BP. To go on, move
   * rip past it.
   *
   * @returns Dispose it to give the guest its #BP again.
   * @throws {HostError} Where `int3` does not stop a guest: in the nested machine of QEMU.
   */
  stopAtInt3(): Disposable;
}

/** What the guest had to do with breakpoints, at some time. */
export interface DebugState {
  /** The one that it stood at. */
  readonly standsAt: bigint | undefined;
  /** How often it had stopped at each that there was, by their numbers. */
  readonly hits: readonly (readonly [number: number, hits: number])[];
}

/** {@linkcode GuestDebug}, with what the run loop asks of it. */
export class DebugControl implements GuestDebug {
  readonly #parts: DebugControlInit;
  #points: Point[] = [];
  #made = 0;
  #reportsInt3 = 0;
  #isInt3Reported = false;
  #isStepping = false;
  #isCounted = false;
  /** Whether an instruction is stepped for coverage's sake. */
  #isStepOfCoverage = false;
  #behindSteps: (() => void) | undefined;
  #follower: StepFollower | undefined;
  /** The linear address of the next instruction, of a step that nobody asked for. */
  #next: bigint | undefined;
  /** The breakpoint that the guest stands at, since it was told so: it goes on past it. */
  #standsAt: bigint | undefined;
  /** What the kernel was told last. */
  #control = 0;

  /** That of one vCPU. */
  constructor(parts: DebugControlInit) {
    this.#parts = parts;
  }

  /** See {@linkcode GuestDebug.breakAt}. */
  breakAt(where: Address, options: BreakOptions = {}): Breakpoint {
    return atCaller(this.breakAt, () => {
      checkOptions("break", options, BREAK_OPTIONS);
      const { by = this.#means() } = options;
      if (by !== "register" && by !== "step") {
        throw new RangeError(`Cannot break by ${String(by)}: give "register" or "step"`);
      }
      const addresses = this.#addressesOf(where, "a breakpoint's address");
      return this.#addAll(addresses.map((address) => ({ address, size: 1, on: "execute", by })));
    });
  }

  /** See {@linkcode GuestDebug.watch}. */
  watch(where: Address, options: WatchOptions = {}): Breakpoint {
    return atCaller(this.watch, () => {
      checkOptions("watch", options, WATCH_OPTIONS);
      const { size = 1, on = "write" } = options;
      const [address] = this.#addressesOf(where, "a watchpoint's address");
      if (on !== "write" && on !== "access") {
        throw new RangeError(`Cannot watch for ${JSON.stringify(on)}: give "write" or "access"`);
      }
      return this.#add({ address, size, on, by: "register" });
    });
  }

  /** See {@linkcode GuestDebug.stopAtInt3}. */
  stopAtInt3(): Disposable {
    this.#parts.checkUsable("stop at int3");
    if (emulatorLacks("breakpoints")) {
      throw new HostError(
        "Cannot stop at int3: QEMU, whose SVM this nested machine's KVM runs on, raises it as a software " +
          "interrupt, which no intercept of #BP sees. Run on KVM hardware, or give the guest a handler for #BP.",
      );
    }
    this.#reportsInt3++;
    this.#parts.vcpu.needsAttention = true;
    let isOn = true;
    return {
      [Symbol.dispose]: () => {
        if (isOn) this.#reportsInt3--;
        isOn = false;
      },
    };
  }

  /** Whether the exit in `kvm_run` is a DEBUG exit of a guest that is stepped. */
  get endedStep(): boolean {
    return this.#parts.vcpu.kvmRun.exitReason === EXIT_REASON.DEBUG && this.isSingleStepping;
  }

  /** Whether KVM steps the guest, by a TF of its own. */
  get isSingleStepping(): boolean {
    return (this.#control & KVM_GUESTDBG.SINGLESTEP) !== 0;
  }

  /** Says whether each instruction is to end in a DEBUG exit. */
  step(isStepping: boolean): void {
    this.#isStepping = isStepping;
    if (!isStepping && !this.#isActive) this.#tell(0, []);
  }

  /**
   * Says that each instruction is to end in a DEBUG exit of its own ({@linkcode isOwnExit}), from now on, for whoever
   * counts them.
   */
  countInstructions(): void {
    this.#isCounted = true;
  }

  /** What the guest has to do with the breakpoints that there are. */
  save(): DebugState {
    return {
      standsAt: this.#standsAt,
      hits: this.#points.map(({ number, hits }) => [number, hits]),
    };
  }

  /** The same as it was: the breakpoints themselves stay those that there are now. */
  restore({ standsAt, hits }: DebugState): void {
    this.#standsAt = standsAt;
    if (hits.length === 0) return;
    const counts = new Map(hits);
    for (const point of this.#points) point.hits = counts.get(point.number) ?? point.hits;
  }

  /** Says that each instruction is to end in a DEBUG exit of its own, until {@linkcode endSteps}. */
  beginSteps(): void {
    this.#isStepOfCoverage = true;
    this.#parts.vcpu.needsAttention = true;
  }

  /** Ends them. @param behind Called once KVM has ended them, before the guest runs on. */
  endSteps(behind: () => void): void {
    this.#isStepOfCoverage = false;
    this.#behindSteps = behind;
  }

  /** Steps the guest from now on. */
  follow(follower: StepFollower): void {
    this.#follower = follower;
    this.#parts.vcpu.needsAttention = true;
  }

  /** Has each `int3` be a DEBUG exit from now on, whoever's it is. */
  reportInt3(): void {
    this.#isInt3Reported = true;
    this.#parts.vcpu.needsAttention = true;
  }

  /** Whether the test has asked to be stopped at `int3`. */
  get stopsAtInt3(): boolean {
    return this.#reportsInt3 > 0;
  }

  /** Whether nothing is to stop the guest, and the kernel knows. */
  get isIdle(): boolean {
    return !this.#isActive && this.#control === 0 && this.#behindSteps === undefined;
  }

  /** Tells the kernel what is to stop the guest. To be called before each run. */
  beforeRun(): void {
    if (!this.#isActive && this.#control === 0) return;
    if (this.#follower !== undefined) {
      const next = this.#parts.isMoved() ? undefined : this.#next;
      this.#follower.enters(next ?? this.#parts.nextInstruction());
      this.#next = undefined;
    }
    if (this.#standsAt !== undefined && this.#standsAt !== this.#parts.nextInstruction()) {
      this.#standsAt = undefined;
    }
    const points = this.#registerPoints();
    const steps = this.#steps || this.#standsAt !== undefined ||
      this.#points.some(({ by }) => by === "step");
    const control = (points.length > 0 ? KVM_GUESTDBG.USE_HW_BP : 0) |
      (steps ? KVM_GUESTDBG.SINGLESTEP : 0) |
      (this.stopsAtInt3 || this.#isInt3Reported ? KVM_GUESTDBG.USE_SW_BP : 0);
    this.#tell(control, points);
    this.#behindSteps?.();
    this.#behindSteps = undefined;
  }

  /** Whether the exit that `kvm_run` holds is a stop of this class's own, which nobody asked for. */
  isOwnExit(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    if (kvmRun.exitReason !== EXIT_REASON.DEBUG) return false;
    const exit = kvmRun.exit() as DebugExit;
    if (this.#isAskedFor(exit) || !this.isSingleStepping) return false;
    if (this.#follower !== undefined) {
      this.#follower.stepped();
      this.#next = exit.pc;
    }
    return true;
  }

  #isAskedFor({ exception, pc, dr6 }: DebugExit): boolean {
    if (exception === BREAKPOINT_EXCEPTION) return true;
    const inForce = this.#registerPoints();
    const hit = inForce.filter((_, index) => (dr6 & DR6_BREAKPOINTS) >> BigInt(index) & 1n);
    if (dr6 & DR6_STEP) {
      hit.push(...this.#points.filter((each) => each.by === "step" && each.address === pc));
    }
    for (const point of hit) point.hits++;
    this.#standsAt = hit.some(({ on }) => on === "execute") ? pc : undefined;
    return hit.length > 0 || this.#isStepping;
  }

  get #isActive(): boolean {
    return this.#steps || this.#points.length > 0 || this.stopsAtInt3 || this.#isInt3Reported;
  }

  get #steps(): boolean {
    return this.#isStepping || this.#isCounted || this.#isStepOfCoverage ||
      this.#follower !== undefined;
  }

  /** The breakpoints that are to be in the debug registers, without the one that is gone past. */
  #registerPoints(): Point[] {
    return this.#points.filter(({ by, on, address }) =>
      by === "register" && !(on === "execute" && address === this.#standsAt)
    );
  }

  #tell(control: number, points: readonly DebugPoint[]): void {
    if (control === 0 && this.#control === 0) return;
    const enabled = control === 0 ? 0 : control | KVM_GUESTDBG.ENABLE;
    this.#parts.vcpu.setGuestDebug(enabled, points.length === 0 ? [] : debugRegisters(points));
    this.#control = control;
  }

  #add(asked: Omit<Point, "number" | "hits">): Breakpoint {
    const point: Point = { ...asked, number: this.#made++, hits: 0 };
    this.#parts.checkUsable("set a breakpoint");
    if (point.by === "register") {
      debugRegisters([...this.#points.filter(({ by }) => by === "register"), point]);
      if (emulatorLacks("breakpoints")) throw noRegisters();
    }
    this.#points = [...this.#points, point];
    this.#parts.vcpu.needsAttention = true;
    return {
      address: point.address,
      get hits() {
        return point.hits;
      },
      [Symbol.dispose]: () => {
        this.#points = this.#points.filter((each) => each !== point);
      },
    };
  }

  /** Several breakpoints as one; all of them, or none. */
  #addAll(asked: readonly Omit<Point, "number" | "hits">[]): Breakpoint {
    const points = this.#points;
    let added: Breakpoint[];
    try {
      added = asked.map((each) => this.#add(each));
    } catch (error) {
      this.#points = points;
      throw error;
    }
    return {
      address: added[0].address,
      get hits() {
        return added.reduce((sum, { hits }) => sum + hits, 0);
      },
      [Symbol.dispose]: () => added.forEach((each) => each[Symbol.dispose]()),
    };
  }

  #addressesOf(where: Address, what: string): readonly bigint[] {
    return typeof where === "string" ? this.#parts.addressesOf(where) : [checkAddress(where, what)];
  }

  #means(): NonNullable<BreakOptions["by"]> {
    return emulatorLacks("breakpoints") ? "step" : "register";
  }
}

function noRegisters(): HostError {
  return new HostError(
    "Cannot set a breakpoint by a debug register: QEMU, whose SVM this nested machine's KVM runs on, loads DR7 at " +
      'VMRUN without putting it in force. For a breakpoint give `by: "step"`; watchpoints take KVM hardware.',
  );
}
