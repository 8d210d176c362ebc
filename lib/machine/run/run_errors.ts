import { describeWalk } from "../../x86/paging/page_walk.ts";
import type { PendingEvent } from "../interrupts/injection.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { Postmortem } from "../report/postmortem.ts";
import { pageOfRepeat, statePage } from "../report/state_page.ts";
import { exitText } from "../report/exit_text.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { answerFields } from "../../kvm/exits/exit_answer.ts";
import { isHandlerError } from "../exits/handler_error.ts";
import { ofCpu } from "../report/cpus_section.ts";
import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";
import { hex } from "../../x86/hex.ts";
import { msrName } from "../../x86/msrs/msr_number.ts";
import { TIMEOUT_SCALE_VARIABLE, timeoutScale } from "./time_limit.ts";
import type { RunOptions } from "./run_options.ts";

/** Whose guest an error is about, by its machine's log. */
const LOGS = new WeakMap<object, object>();

/** Who hears of errors about a guest before a test does, by its machine's log; what that one says stands below them. */
const HEARERS = new WeakMap<object, (message: string) => string>();
const HEARD = new WeakSet<object>();

/** Has somebody hear of errors about a machine's guest, which stands there still. */
export function onFailure(
  { log }: Pick<StoppedCpu, "log">,
  hear: (message: string) => string,
): void {
  HEARERS.set(log, hear);
}

/** Whether an error is about the guest of a machine; that of another one, run in a handler, is not. */
export function isErrorOf({ log }: Pick<StoppedCpu, "log">, error: unknown): boolean {
  return typeof error === "object" && error !== null && LOGS.get(error) === log;
}

/**
 * The guest caused an exception that it does not handle, and its fault catcher reported it. The machine stands
 * where the guest did: its registers are those at the fault, and running it on tries the instruction again.
 */
export class GuestFaultError extends Error {
  /** The name that reporters print. */
  override readonly name = "GuestFaultError";
  /** The fault. */
  readonly fault: CaughtFault;
  /** The number of the CPU whose fault it is. */
  readonly cpu: number;

  /** The error with the state of the machine at the fault. */
  constructor(machine: StoppedCpu, fault: CaughtFault) {
    const whose = machine.machine.cpus.length === 1 ? "" : `CPU ${machine.number}: `;
    super([whose + fault.text, "", ...walkLines(fault), statePage(machine)].join("\n"));
    LOGS.set(this, machine.log);
    this.fault = fault;
    this.cpu = machine.number;
  }
}

function walkLines({ walk }: CaughtFault): string[] {
  if (walk === undefined) return [];
  return ["page tables", ...describeWalk(walk).map((line) => `    ${line}`)];
}

/**
 * The guest caused an exit that no handler answers and no transcript foresees, or came to another end than its run was
 * to have: it shut down. The machine can be looked at, and run on unless it has shut down.
 */
export class UnhandledExitError extends Error {
  /** The name that reporters print. */
  override readonly name = "UnhandledExitError";
  /** The exit. */
  readonly exit: Exit;

  /**
   * The error with the state of the machine at the exit.
   *
   * @param exit What nobody answered, or what the run ended with.
   * @param until `"shutdown"` or `"reset"` where that was to be its end.
   */
  constructor(machine: StoppedCpu, exit: Exit, until?: RunOptions["until"]) {
    const which = `exit ${machine.log.total}${ofCpu(machine)}`;
    const said = until === "shutdown" || until === "reset"
      ? `The guest was to ${
        until === "reset" ? "reset the machine" : "shut down"
      }, and its run ended at ${which}: ${exitText(exit)}.`
      : headline(exit, which) + remedy(exit);
    super(`${said}\n\n${statePage(machine)}`);
    LOGS.set(this, machine.log);
    this.exit = exit;
  }
}

/**
 * A run has ended well, and would not have on hardware: the emulated processor that KVM runs on here forgives what others
 * do not (the option `strict`).
 */
export class ForgivenFaultError extends Error {
  /** The name that reporters print. */
  override readonly name = "ForgivenFaultError";

  /**
   * The error with the state of the machine at the fault.
   *
   * @param found The same guest, run once more up to there.
   * @param who Who forgives it.
   */
  constructor(machine: StoppedCpu, found: Postmortem, who: string) {
    super(
      `The guest's run ends well on this KVM alone: it runs on ${who}, which lets through what Intel's and AMD's processors ` +
        "do not. Where that is meant, boot it with `strict: false`." +
        `\n\n${pageOfRepeat(machine, found)}`,
    );
    LOGS.set(this, machine.log);
  }
}

/**
 * A run has ended, and the guest has not taken what was injected ({@linkcode MachineCpu.inject}), or a failure that was
 * planned of a device was not delivered ({@linkcode Device.pending}); or it has taken all of it, where that was still to be pending ({@linkcode RunOptions.pending}). The machine can be looked at, and run on.
 */
export class PendingEventError extends Error {
  /** The name that reporters print. */
  override readonly name = "PendingEventError";

  /**
   * The error with the state of the machine at the end of its run.
   *
   * @param machine The CPU that has not taken them; where there are none, that of the latest exit.
   * @param pending What is pending.
   * @param ofDevices What was planned of devices, and has not come about.
   */
  constructor(
    machine: StoppedCpu,
    pending: readonly PendingEvent[],
    ofDevices: readonly string[],
  ) {
    const what = pending.length > 0
      ? notTaken(machine, pending)
      : ofDevices.length > 0
      ? notCome(ofDevices)
      : NONE_PENDING;
    super(`${what}\n\n${statePage(machine)}`);
    LOGS.set(this, machine.log);
  }
}

const NONE_PENDING =
  "The run has ended, and nothing that was injected, or planned of a device, is still pending, as it was to be: " +
  "{ pending: true }.";

function notCome(planned: readonly string[]): string {
  return `The run has ended, and what was planned has not come about: ${
    planned.join("; ")
  }. Let the guest come to it ` +
    "before it ends, or say that it is to stay pending: vm.run({ pending: true }).";
}

function notTaken(machine: StoppedCpu, pending: readonly PendingEvent[]): string {
  const events = pending.map(({ text, why }) => `${text} (${why})`).join(", ");
  return `The run has ended, and ${
    ofCpu(machine) === "" ? "the guest" : `CPU ${machine.number}`
  } has not taken what ` +
    `was injected: ${events}. Let the guest take it before it ends, or say that it is to stay pending: ` +
    "vm.run({ pending: true }).";
}

function headline(exit: Exit, which: string): string {
  switch (exit.reason) {
    case "SHUTDOWN":
      return `The guest shut down at ${which}: it triple-faulted.`;
    case "SYSTEM_EVENT":
      return `The guest ${
        exit.type === KVM_SYSTEM_EVENT.RESET
          ? "reset the machine"
          : "caused an event of the machine"
      } at ${which}: ${exitText(exit)}.`;
    default:
      return `Nothing answers ${which}: ${exitText(exit)}.`;
  }
}

function remedy(exit: Exit): string {
  switch (exit.reason) {
    case "SHUTDOWN":
      return ' Where that is meant, say so: vm.run({ until: "shutdown" }), or shutdown() in a transcript.';
    case "SYSTEM_EVENT":
      return exit.type === KVM_SYSTEM_EVENT.RESET
        ? ' Where that is meant, say so: vm.run({ until: "reset" }), reset() in a transcript, or boot it with `reset: "restart"`.'
        : "";
    case "IO": {
      const port = `0x${exit.port.toString(16)}`;
      return exit.direction === "out"
        ? ` Handle it with vm.ports.on(${port}, { write(port, value) {} }), or foresee it in a transcript with portOut(${port}).`
        : ` Handle it with vm.ports.on(${port}, { read: () => 0 }), or foresee it in a transcript with portIn(${port}).returns(0).`;
    }
    case "MMIO": {
      const address = `0x${exit.gpa.toString(16)}`;
      return exit.isWrite
        ? ` No memory slot takes writes there. Handle it with vm.mmio.on(${address}, { write(address, value) {} }), or foresee it in a transcript with mmioWrite(${address}).`
        : ` No memory slot backs it. Handle it with vm.mmio.on(${address}, { read: () => 0 }), or foresee it in a transcript with mmioRead(${address}).returns(0).`;
    }
    case "X86_RDMSR": {
      const msr = msrArgument(exit.index);
      return ` Handle it with vm.msrs.on(${msr}, { read: () => 0 }), or foresee it in a transcript with rdmsr(${msr}).returns(0) or .faults().`;
    }
    case "X86_WRMSR": {
      const msr = msrArgument(exit.index);
      return ` Handle it with vm.msrs.on(${msr}, { write(msr, value) {} }), or foresee it in a transcript with wrmsr(${msr}) or wrmsr(${msr}).faults().`;
    }
    case "FAIL_ENTRY":
    case "INTERNAL_ERROR":
    case "UNKNOWN_TO_VMEXIT":
      return "";
    default: {
      const [field] = answerFields(exit.reason);
      return field === undefined
        ? ` Handle it with vm.on("${exit.reason}", () => {}), or foresee it in a transcript with exit("${exit.reason}").`
        : ` Handle it with vm.on("${exit.reason}", () => ({ ${field}: 0 })), or foresee it in a transcript with exit("${exit.reason}").returns({ … }).`;
    }
  }
}

/** An MSR as a test writes it. */
function msrArgument(index: number): string {
  const name = msrName(index);
  return name === undefined ? hex(index) : `"${name}"`;
}

/**
 * A run took longer than its time limit. The guest may hang in a loop, wait in HLT for an interrupt that does
 * not come, or cause exits without end; the message says where it was. The machine is whole: it can be looked
 * at, and run on.
 */
export class TimeLimitError extends Error {
  /** The name that reporters print. */
  override readonly name = "TimeLimitError";
  /** The limit, in milliseconds, as scaled for this host. */
  readonly milliseconds: number;
  /** Where the guest was: its instruction pointer. */
  readonly rip: bigint;

  /**
   * The error with the state of the machine as it was stopped.
   *
   * @param milliseconds The limit, as scaled.
   */
  constructor(machine: StoppedCpu, milliseconds: number) {
    const scale = timeoutScale();
    const limit = scale === 1
      ? `${milliseconds} ms`
      : `${milliseconds} ms (${milliseconds / scale} ms × ${TIMEOUT_SCALE_VARIABLE}=${scale})`;
    super(
      `The guest did not end within ${limit}: it was stopped at rip 0x${
        machine.registers.rip.toString(16)
      }${ofCpu(machine)} after ${machine.log.total} exits.${
        waiting(machine)
      } Give it more with the \`timeout\` option, or on a slow host with ${TIMEOUT_SCALE_VARIABLE}.` +
        `\n\n${statePage(machine, { isOverTime: true })}`,
    );
    LOGS.set(this, machine.log);
    this.milliseconds = milliseconds;
    this.rip = machine.registers.rip;
  }
}

/** A guest that is halted with interrupts disabled has ended: here it waits for one. */
function waiting(machine: StoppedCpu): string {
  return machine.mpState === "HALTED"
    ? ' It is halted, waiting for an interrupt: raise one by vm.interrupts, or let the run end there with { until: "halted" }.'
    : "";
}

/**
 * A routine that {@linkcode MachineCpu.call} called did not return, or not as routines do. The machine stands where
 * it came to: it can be looked at.
 */
export class CallError extends Error {
  /** The name that reporters print. */
  override readonly name = "CallError";
  /** The exit that ended the run; undefined where the routine came back with another stack or code segment. */
  readonly exit: Exit | undefined;

  /** The error with the state of the machine where the routine has come to. */
  constructor(machine: StoppedCpu, what: string, exit?: Exit) {
    super(`${what}${ofCpu(machine)}.\n\n${statePage(machine)}`);
    this.exit = exit;
  }
}

/** The errors about what the guest does. */
const OF_GUEST = [
  CallError,
  ForgivenFaultError,
  GuestFaultError,
  PendingEventError,
  TimeLimitError,
  UnhandledExitError,
];

/** Whether an error is about what the guest does, or its handlers return. */
export function isOfGuest(error: unknown): error is Error {
  return isHandlerError(error) || OF_GUEST.some((kind) => error instanceof kind);
}

/**
 * Whether an error refuses what a test has given: the messages of such have two parts, "Cannot X: Y", and those that V8
 * throws at a fault of vmexit's own have not.
 */
export function isRefusal(error: unknown): error is Error {
  return (error instanceof RangeError || error instanceof TypeError) &&
    /^(?:Input \d+ fails [^]*: )?Cannot [^]*: /.test(error.message);
}

/**
 * Does what a test has asked for; the stack of a refusal, and of an error about the guest, begins at the line that called
 * `method`. One that a handler's own code has met stays where that was.
 */
export function fromCaller<Result>(
  method: (...parameters: never[]) => unknown,
  body: () => Result,
): Result {
  try {
    return body();
  } catch (error) {
    throw toldAt(method, error);
  }
}

/** An error that `method` throws; the stack of a refusal, and of one about the guest, begins at the line that called it. */
export function toldAt(method: (...parameters: never[]) => unknown, error: unknown): unknown {
  letHear(error);
  if ((isOfGuest(error) || isRefusal(error)) && beginsInLibrary(error)) {
    Error.captureStackTrace(error, method);
  }
  return error;
}

function letHear(error: unknown): void {
  const log = error instanceof Error ? LOGS.get(error) : undefined;
  if (log === undefined || HEARD.has(error as Error)) return;
  const { message, stack } = error as Error;
  HEARD.add(error as Error);
  const more = HEARERS.get(log)?.(message) ?? "";
  (error as Error).message += more;
  // Reporters print the stack, which begins with the message.
  (error as Error).stack = stack?.replace(message, () => message + more);
}

/** Where the modules of this library are. */
export const LIBRARY: string = new URL("../../", import.meta.url).href;
const FRAME = /^ +at .*:\d+:\d+\)?$/m;

function beginsInLibrary({ stack = "" }: Error): boolean {
  const [frame = LIBRARY] = FRAME.exec(stack) ?? [];
  return frame.includes(LIBRARY);
}

/** The same error, whose message begins with what it came of; reporters print the stack, which begins with the message. */
export function namedError(error: unknown, cause: string): unknown {
  if (!(error instanceof Error)) return new Error(`${cause}: ${String(error)}`, { cause: error });
  const { message, stack } = error;
  if (message.includes(`${cause}:`)) return error;
  error.message = `${cause}: ${message}`;
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
  return error;
}
