import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { endsRun, goesOn } from "../../kvm/exits/exit_table.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { ofCpu } from "../report/cpus_section.ts";
import { GuestFaultError, UnhandledExitError } from "./run_errors.ts";
import type { ObservedExit, RunOptions } from "./run_options.ts";

/** Where a run may be told to end. */
const UNTIL: readonly unknown[] = ["halted", "reset", "shutdown"];

/** What the log has for a reset that starts the guest again. */
const RESTART = "restart";

/** What becomes of a reset, and of a triple fault: the options `reset` and `tripleFault`. */
export interface ResetPolicy {
  /** Whether the guest begins again after a reset that nobody asked for. */
  readonly restarts: boolean;
  /** Whether a triple fault is a reset. */
  readonly resetsAtShutdown: boolean;
}

/** A CPU, as far as the end of a run goes. */
interface RunningCpu {
  readonly parts: { readonly cpu: StoppedCpu };
  readonly isShutDown: boolean;
  readonly lastExit: Exit | undefined;
}

/** By which exits a run may end, and behind which the guest begins again. */
export class RunEnds {
  /** Where the run is to end: the option `until`. */
  until: RunOptions["until"];
  readonly #policy: ResetPolicy;

  /** Those of a machine. */
  constructor(policy: ResetPolicy) {
    this.#policy = policy;
  }

  /** Whether a triple fault is a reset. */
  get resetsAtShutdown(): boolean {
    return this.#policy.resetsAtShutdown;
  }

  /** Whether a run may end with the exit. */
  isWanted(exit: Exit): boolean {
    if (exit.reason === "SHUTDOWN") return this.until === "shutdown";
    if (isReset(exit)) return this.until === "reset";
    return endsRun(exit) || isPowerOff(exit) || exit.reason === "INTR";
  }

  /** Whether the guest begins again: a reset that somebody answers, or a triple fault that brings one. */
  goesOnByReset(exit: Exit, log: ExitRecorder): boolean {
    const { restarts, resetsAtShutdown } = this.#policy;
    if (exit.reason === "SHUTDOWN") return resetsAtShutdown && this.until !== "shutdown";
    if (!isReset(exit) || this.until === "reset") return false;
    if (restarts && log.latest!.answeredBy === undefined) log.setAnsweredBy(RESTART);
    return log.latest!.answeredBy !== undefined;
  }

  /** The same of an exit that test code has seen. */
  isRestart({ exit, answeredBy }: Pick<ObservedExit, "exit" | "answeredBy">): boolean {
    if (exit.reason === "SHUTDOWN") return this.#policy.resetsAtShutdown;
    return isReset(exit) && answeredBy !== undefined;
  }

  /** @throws {GuestFaultError | UnhandledExitError} When the guest has come to an end that nobody foresaw. */
  checkIsForeseen(cpu: StoppedCpu, { exit, fault, answeredBy }: ObservedExit): void {
    if (answeredBy !== undefined || this.isRestart({ exit, answeredBy })) return;
    if (fault !== undefined) throw new GuestFaultError(cpu, fault);
    if (goesOn(exit) || endsRun(exit) || this.isWanted(exit)) return;
    throw new UnhandledExitError(cpu, exit);
  }

  /**
   * A processor that has shut down waits for its reset: what KVM would run there is the reset vector (AMD), or nothing.
   *
   * @throws {TypeError} When a CPU has shut down and nothing resets it, or the power is off.
   */
  checkIsAlive(runners: readonly RunningCpu[]): void {
    const runner = runners.find((each) =>
      each.isShutDown && (isPowerOff(each.lastExit) || !this.#policy.resetsAtShutdown)
    );
    if (runner === undefined) return;
    const { cpu } = runner.parts;
    throw new TypeError(
      `Cannot run the machine: ${
        isPowerOff(runner.lastExit)
          ? "its guest has turned the power off"
          : `its guest has shut down${ofCpu(cpu)} (a triple fault)`
      }. Boot it anew, or set the registers with which it is to go on.`,
    );
  }

  /** @throws {UnhandledExitError} When the run was to end in a shutdown, or a reset, and did not. */
  check(cpu: StoppedCpu, exit: Exit): void {
    const { until } = this;
    if (until !== "shutdown" && until !== "reset") return;
    if (until === "reset" ? isReset(exit) : exit.reason === "SHUTDOWN") return;
    throw new UnhandledExitError(cpu, exit, until);
  }

  /** @throws {TypeError} When a handler of SHUTDOWN has not set where the guest is to go on. */
  static checkIsRevived({ isShutDown }: { readonly isShutDown: boolean }): void {
    if (!isShutDown) return;
    throw new TypeError(
      "Cannot run on behind SHUTDOWN: its handler has set no registers with which the guest could go on. Let it set them, " +
        "or end the run by vm.stop().",
    );
  }

  /** @throws {RangeError} When a run cannot be told to end there. */
  static checkUntil(until: RunOptions["until"]): void {
    if (until === undefined || UNTIL.includes(until)) return;
    throw new RangeError(
      `Cannot run the machine until ${
        JSON.stringify(until)
      }: a run ends by itself, or with { until: "halted" }, { until: "shutdown" } or { until: "reset" }`,
    );
  }
}

/** Whether the guest has reset the machine. */
function isReset(exit: Exit): boolean {
  return exit.reason === "SYSTEM_EVENT" && exit.type === KVM_SYSTEM_EVENT.RESET;
}

/** Whether the guest has turned the power off. */
export function isPowerOff(exit: Exit | undefined): boolean {
  return exit?.reason === "SYSTEM_EVENT" && exit.type === KVM_SYSTEM_EVENT.SHUTDOWN;
}
