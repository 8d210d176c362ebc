import type { Libc } from "../../ffi/libc.ts";
import { emulatedMachineName } from "../host/emulated_machine.ts";
import { ThreadTimer } from "../../ffi/thread_timer.ts";
import { readText } from "../../ffi/read_text.ts";
import { libc } from "../../ffi/real_libc.ts";

/** How long a run may take where no option says otherwise. */
export const DEFAULT_TIMEOUT_MILLISECONDS = 1_000;

/** The environment variable that stretches every time limit, for slow hosts: `VMEXIT_TIMEOUT_SCALE=20`. */
export const TIMEOUT_SCALE_VARIABLE = "VMEXIT_TIMEOUT_SCALE";

/** What they are multiplied by where KVM is in an emulated machine, unless that variable says otherwise. */
const EMULATED_SCALE = 20;

/** The clock is read once in this many exits: reading it at each would cost a tenth of the run loop. */
const EXITS_PER_CHECK = 32;

/** The same of exits in a row, of which each costs less. */
export const ROW = 128;

/**
 * Into how many parts a limit is divided that is shared by many stretches: so often the guest is interrupted until it is
 * over.
 */
const PARTS = 16;

/** The time that a run, or the stretches of a loop over exits together, may take. */
export class RunTime {
  /** The limit, in milliseconds. */
  readonly milliseconds: number;
  /** Whether it is one of several stretches: those before it count. */
  readonly isShared: boolean;
  /** How much of it is over, in milliseconds. */
  used = 0;
  /** The same as samples of single exits tell, where it is shared by the stretches of a loop. */
  sampled = 0;

  /** A limit of which nothing is over. */
  constructor(milliseconds: number, isShared = false) {
    this.milliseconds = milliseconds;
    this.isShared = isShared;
  }
}

/**
 * The watchdog of one machine. A guest that never exits is interrupted by a timer's signal; one that exits
 * all the time is caught by the clock, which is looked at every few exits; both end in
 * {@linkcode TimeLimit.isOver}.
 *
 * A loop over exits, between which test code has control, sets its timer once ({@linkcode TimeLimit.keep}). A signal that
 * comes while the guest runs ends `KVM_RUN`, and one that comes while test code does is not seen: what lies between two that
 * were seen is the guest's time, up to the time from one signal to the next. Of a guest that has exits all the time, of which
 * few are long enough to be met, one in a few is timed. Neither finds too much; the larger counts.
 */
export class TimeLimit implements Disposable {
  readonly #libc: Libc;
  readonly #scale: number;
  #tick: number | undefined;
  #timer: ThreadTimer | undefined;
  #time = new RunTime(0);
  #begin = 0;
  #end = Infinity;
  #exits = 0;
  #rows = 0;
  /** Whether the timer goes on while test code has control. */
  #isKept = false;
  /** How long it is from one signal to the next then, in milliseconds. */
  #part = 0;
  /** When the guest was entered for the exit that is timed. */
  #entered = 0;

  /**
   * Makes no system call: the timer is created by the first run.
   *
   * @param scale What the limits of this machine are multiplied by: {@linkcode timeoutScale}.
   * @param tick How often the guest is interrupted meanwhile, in milliseconds, for those who look at it: by default
   *   from the limit's end on.
   */
  constructor(libc: Libc, scale: number, tick?: number) {
    this.#libc = libc;
    this.#scale = scale;
    this.#tick = tick;
  }

  /** From the next run on, has the guest interrupted at least so often, in milliseconds. */
  tickAtLeast(milliseconds: number): void {
    this.#tick = Math.min(this.#tick ?? Infinity, milliseconds);
    if (this.#isKept) this.stop();
  }

  /**
   * A time limit in milliseconds, scaled for this host.
   *
   * @throws {RangeError} When it is not a positive number.
   */
  scaled(milliseconds: number): number {
    return checkTimeout(milliseconds) * this.#scale;
  }

  /** The limit that was last started, in milliseconds. */
  get milliseconds(): number {
    return this.#time.milliseconds;
  }

  /** Starts the limit; while a debugger can be attached to this process, there is none. */
  start(time: RunTime): void {
    this.#begin = performance.now();
    this.#isKept = false;
    const rest = isInspected() ? Infinity : time.milliseconds - time.used;
    this.#end = this.#begin + rest;
    this.#set(time, Math.min(rest, this.#tick ?? Infinity));
  }

  /** Starts it for a stretch behind which the next one may come soon: until that the timer is kept as it is. */
  keep(time: RunTime): void {
    this.#begin = performance.now();
    this.#isKept = true;
    this.#part = Math.min(
      isInspected() ? Infinity : time.milliseconds / PARTS,
      this.#tick ?? Infinity,
    );
    this.#set(time, this.#part, this.#part);
  }

  /** Whether it is kept for these stretches: nothing else has run, or ended it, since. */
  isKeptFor(time: RunTime): boolean {
    return this.#isKept && this.#time === time;
  }

  #set(time: RunTime, first: number, next = this.#tick): void {
    this.#timer ??= new ThreadTimer(this.#libc);
    this.#time = time;
    this.#exits = 0;
    if (first < Infinity) this.#timer.arm(first, next);
  }

  /** Has the guest interrupted when so many milliseconds have passed, then at every tick again. */
  interrupt(milliseconds: number): void {
    this.#timer?.arm(milliseconds, this.#tick);
  }

  /** Leaves out time that is not the guest's, in milliseconds. */
  leaveOut(milliseconds: number): void {
    this.#begin += milliseconds;
    this.#end += milliseconds;
  }

  /** Ends it: no signal comes any more. */
  stop(): void {
    this.#timer?.disarm();
    if (!this.#isKept && this.#time.isShared) this.#time.used += performance.now() - this.#begin;
    this.#isKept = false;
    this.#end = Infinity;
  }

  /** Whether the time is over. To be asked after EINTR. */
  isOver(): boolean {
    const now = performance.now();
    if (!this.#isKept) return now >= this.#end;
    this.#time.used += Math.min(now - this.#begin, this.#part);
    this.#begin = now;
    return this.#isUsed(this.#time.used);
  }

  /** To be called before the guest is entered for an exit of which {@linkcode isOverAfter} is asked. */
  enters(): void {
    if (this.#isKept) this.#entered = performance.now();
  }

  /** Whether the time is over, asked of the clock once in so many exits: to be asked behind that exit. */
  isOverAfter(exits: number): boolean {
    if (!this.#isKept) return this.isOver();
    // It stands for those that were not timed. One at which the host did something else must not stand for too much.
    const took = (performance.now() - this.#entered) * exits;
    this.#time.sampled += Math.min(took, this.#part);
    return this.#isUsed(this.#time.sampled);
  }

  /**
   * Begins a row of exits, of which one in {@linkcode ROW} is timed, also where each row has few.
   *
   * @returns How many of this row come before, with that one.
   */
  beginRow(): number {
    return ROW - this.#rows++ % ROW;
  }

  /** To be called before the guest is entered for an exit. */
  entersForExit(): void {
    if ((this.#exits + 1) % EXITS_PER_CHECK === 0) this.enters();
  }

  /** Whether the time is over, asked of the clock only now and then. To be asked after each exit. */
  isOverAfterExit(): boolean {
    return ++this.#exits % EXITS_PER_CHECK === 0 && this.isOverAfter(EXITS_PER_CHECK);
  }

  #isUsed(time: number): boolean {
    return time >= this.#time.milliseconds && !isInspected();
  }

  /** Deletes the timer. */
  [Symbol.dispose](): void {
    this.#isKept = false;
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }
}

/** @throws {RangeError} When a time limit is not a positive number of milliseconds. */
export function checkTimeout(milliseconds: number): number {
  if (typeof milliseconds === "number" && milliseconds > 0 && milliseconds < Infinity) {
    return milliseconds;
  }
  throw new RangeError(
    `Cannot limit a run to ${String(milliseconds)} ms: the limit is not a positive, finite number`,
  );
}

/**
 * A time limit in milliseconds, scaled for this host.
 *
 * @throws {RangeError} When it, or `VMEXIT_TIMEOUT_SCALE`, is not a positive number.
 */
export function scaledTimeout(milliseconds: number): number {
  return checkTimeout(milliseconds) * timeoutScale();
}

/**
 * What time limits are multiplied by: `VMEXIT_TIMEOUT_SCALE`, else 20 where KVM is emulated, else 1.
 *
 * @throws {RangeError} When it is not a positive number.
 */
export function timeoutScale(): number {
  const variable = { name: "env", variable: TIMEOUT_SCALE_VARIABLE } as const;
  // Asking for the permission would stop a test run at a prompt.
  const text = Deno.permissions.querySync(variable).state === "granted"
    ? Deno.env.get(TIMEOUT_SCALE_VARIABLE)
    : undefined;
  if (text === undefined || text === "") {
    return emulatedMachineName() === undefined ? 1 : EMULATED_SCALE;
  }
  const scale = Number(text);
  if (!(scale > 0 && scale < Infinity)) {
    throw new RangeError(
      `Cannot scale time limits by ${TIMEOUT_SCALE_VARIABLE}=${text}: it is not a positive number`,
    );
  }
  return scale;
}

const FLAG = /^--inspect(-brk|-wait)?(=|$)/;

let known: boolean | undefined;

/**
 * Whether this process was started for a debugger (`--inspect` and its kin): a person who looks at a breakpoint takes
 * as long as it takes, so that no time limit is in force. By the command line, because Node's inspector wants a
 * permission for the question.
 */
function isInspected(): boolean {
  return known ??= (readText(libc(), "/proc/self/cmdline") ?? "").split("\0")
    .some((word) => FLAG.test(word));
}
