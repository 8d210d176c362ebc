import type { Address } from "../../guest/address.ts";
import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";
import type { AnswerFields, Exit } from "../../kvm/exits/exit.ts";
import { checkOptions, type NamesOf, type OptionNames } from "../../x86/defined_entries.ts";
import type { RegisterValues } from "../registers/registers.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";

/** How one run is made. */
export interface RunOptions {
  /**
   * How long it may take, in milliseconds, before `VMEXIT_TIMEOUT_SCALE`. The machine's own limit by default.
   */
  readonly timeout?: number;
  /**
   * `"shutdown"`, of `run` and `exits`: the guest is to triple-fault, and the run ends with SHUTDOWN; any other end is
   * an error.
   *
   * `"halted"`: the run ends with HLT as soon as the guest waits in HLT, though an interrupt could wake it. It counts
   * for machines with a local APIC (the option `irqchip`), whose HLT waits in the kernel: the others end at each HLT. A
   * guest that waits for its timer counts as well. It is found out after 5 to 10 ms. Likewise for machines whose
   * devices have timers of their own.
   *
   * `"reset"`, of `run` and `exits`: the guest is to reset the machine, and the run ends there, at the reset vector; any
   * other end is an error.
   */
  readonly until?: "halted" | "reset" | "shutdown";
  /**
   * What {@linkcode MachineCpu.inject} has injected is still to be pending when the run ends: the guest keeps interrupts
   * off. That it has taken all of it is an error then; left out, that it has not is one. Neither counts where the run
   * ends for the test's sake: at a breakpoint, a step, a watchpoint, IRQ_WINDOW_OPEN, a fault, or the time limit.
   */
  readonly pending?: boolean;
}

const OF_RUNS: NamesOf<RunOptions> = { timeout: "value", until: "value", pending: "flag" };
const OF_CALLS: NamesOf<CallOptions> = { timeout: "value", pending: "flag", returns: "value" };
const OF_EXITS: NamesOf<ExitsOptions> = {
  ...OF_RUNS,
  before: "value",
  cpus: "value",
  call: "value",
};
const OF_CALLEES: NamesOf<NonNullable<ExitsOptions["call"]>> = { routine: "value", given: "value" };

const RUN = "run the machine";

/**
 * Checks the names of a run's options.
 *
 * @throws {TypeError} When there is no option of a name.
 */
export function checkRunOptions(options: RunOptions): void {
  checkOptions(RUN, options, OF_RUNS);
}

/**
 * The same where the end is not the run's to choose: of a step, a transcript, a fault.
 *
 * @param more The names of options that this kind of run has beside `timeout` and `until`.
 * @throws {TypeError} When there is no option of a name, or it is to end in a shutdown, or with what is pending.
 */
export function checkRunOptionsWithoutEnd(
  options: RunOptions,
  more: OptionNames = {},
): void {
  checkOptions(RUN, options, { ...OF_RUNS, ...more });
  const { until, pending } = options;
  if (pending !== undefined && !Object.hasOwn(more, "pending")) {
    throw new TypeError(
      "Cannot run with the option pending here: where a step, a fault or the time limit ends the run, what was injected " +
        "may be pending or not. run(), exits(), call(), toExit() and toCall() take it.",
    );
  }
  if (until !== "shutdown" && until !== "reset") return;
  throw new TypeError(
    `Cannot run until "${until}" here: only run() and exits() end so; a transcript names it with ${until}()`,
  );
}

/** The same of a call's options. @throws {TypeError} When there is no option of a name. */
export function checkCallOptions(options: CallOptions): void {
  checkOptions(RUN, options, OF_CALLS);
}

/**
 * The same of an iteration's options.
 *
 * @param count How many CPUs the machine has.
 * @throws {TypeError} When there is no option of a name.
 * @throws {RangeError} When there is no CPU of a number, or none is named.
 */
export function checkExitsOptions(options: ExitsOptions, count: number): void {
  checkOptions(RUN, options, OF_EXITS);
  const { before, call, cpus } = options;
  if (before !== undefined && typeof before !== "function") {
    throw new TypeError(
      `Cannot ask ${String(before)} before each exit: give a function of the exit`,
    );
  }
  if (call !== undefined) checkOptions(RUN, call, OF_CALLEES, "call");
  if (cpus !== undefined && !Array.isArray(cpus)) {
    throw new TypeError(`Cannot run the CPUs ${String(cpus)}: give a list of their numbers`);
  }
  if (cpus?.length === 0) {
    throw new RangeError("Cannot run no CPU: name at least one, or leave `cpus` out for all");
  }
  const unknown = cpus?.find((cpu) => !(Number.isInteger(cpu) && cpu >= 0 && cpu < count));
  if (unknown === undefined) return;
  throw new RangeError(
    `Cannot run CPU ${JSON.stringify(unknown)}: the machine has CPUs 0 to ${count - 1}`,
  );
}

/** What answers an exit before the machine's devices are asked: see {@linkcode ExitsOptions}. */
export interface ExitAnswer {
  /** Who it is, for tables of exits: `"transcript"`. */
  readonly by: string;
  /** For a read: what the guest gets, as many bytes as the exit's data has. */
  readonly bytes?: Uint8Array;
  /** For an exit that is neither IO nor MMIO, and waits for an answer: its fields. */
  readonly fields?: AnswerFields;
}

/** Who follows a guest by its port writes. */
export interface WriteFollower {
  /** Its name, for tables of exits; undefined of one who leaves them to their handlers. */
  readonly by: string | undefined;
  /** Takes the next exit, a write of one element to a port by the machine's only CPU, before it is in the log. */
  takesWrite(port: number, size: number, value: number): boolean;
  /** Whether nobody looks at the latest exit, an answered one: KVM finishes it when the guest goes on. */
  isPassed(): boolean;
}

/** Who follows it by all of its exits, and does not look at those that are as they should be. */
export interface ExitFollower extends WriteFollower {
  readonly by: string;
  /**
   * Takes the latest exit as `kvm_run` holds it.
   *
   * @returns The answer of a read, in as many bytes as it has, where there is one; undefined where the exit is to be decoded.
   */
  takes(kvmRun: KvmRunPage, cpu: number): { readonly bytes?: Uint8Array } | undefined;
}

/**
 * How {@linkcode MachineCpu.call} calls a routine.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   bits 64
 *   hlt
 * add:
 *   lea eax, [rdi+rsi]
 *   ret
 * `);
 * console.log(vm.call("add", [1, -2], { returns: "i32" })); // -1n
 * ```
 */
export interface CallOptions extends Pick<RunOptions, "timeout" | "pending"> {
  /**
   * What of the accumulator is the result: of a C function that returns `int`, `"i32"`, of one that returns `bool`,
   * `"u8"`; the rest of RAX is undefined then. Twice as wide as a register it is in two of them: EDX:EAX, DX:AX.
   * Default all of RAX, EAX or AX, without a sign.
   */
  readonly returns?: `${"u" | "i"}${8 | 16 | 32 | 64}`;
}

/**
 * What a routine is given: registers, or arguments by the C convention, each an integer, or a label, for its address.
 */
export type CallInput = RegisterValues | readonly Address[];

/** How exits are iterated. */
export interface ExitsOptions extends RunOptions {
  /**
   * Asked first at every exit, with the number of its CPU. What it answers, no device sees; undefined hands the exit
   * on to the devices.
   */
  readonly before?: (
    exit: Exit,
    fault: CaughtFault | undefined,
    cpu: number,
  ) => ExitAnswer | undefined;
  /** The numbers of the CPUs that run; the others stand still. Default all. */
  readonly cpus?: readonly number[];
  /**
   * The exits are those of one routine, which is called as {@linkcode MachineCpu.call} does, on the first of `cpus`.
   * Its return, which is no exit, ends them; they go on behind a HLT, and behind a fault that is repaired.
   */
  readonly call?: {
    /** A label, or a linear address. */
    readonly routine: Address;
    /** What it is given. Default nothing. */
    readonly given?: CallInput;
  };
}

/** An exit as {@linkcode Machine.exits} gives it. */
export interface ObservedExit {
  /** Which exit of the machine it is, from 1. */
  readonly number: number;
  /** The number of the CPU whose exit it is. */
  readonly cpu: number;
  /** The exit, decoded. */
  readonly exit: Exit;
  /**
   * The guest's fault, where the exit is one by which its fault catcher reports one (the option `catchFaults`);
   * it is the last of its iteration.
   */
  readonly fault: CaughtFault | undefined;
  /**
   * What answered it, or undefined: then a read must be answered with {@linkcode Machine.answer} before the
   * machine runs on.
   */
  readonly answeredBy: string | undefined;
  /** It in the words of the device that has answered it, where that has any: a call of the BIOS's, a hypercall. */
  readonly description: string | undefined;
  /** The value that was written or answered, of the first element; undefined where there is none. */
  readonly value: bigint | undefined;
}
