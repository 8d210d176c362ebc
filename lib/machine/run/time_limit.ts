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

/**
 * The watchdog of one machine. A guest that never exits is interrupted by a timer's signal; one that exits
 * all the time is caught by the clock, which is looked at every few exits; both end in
 * {@linkcode TimeLimit.isOver}.
 */
export class TimeLimit implements Disposable {
  readonly #libc: Libc;
  readonly #scale: number;
  #tick: number | undefined;
  #timer: ThreadTimer | undefined;
  #milliseconds = 0;
  #begin = 0;
  #end = Infinity;
  #exits = 0;

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
    return this.#milliseconds;
  }

  /** How long ago it was last started, in milliseconds. */
  get elapsed(): number {
    return performance.now() - this.#begin;
  }

  /**
   * Starts the limit; while a debugger can be attached to this process, there is none.
   *
   * @param used How much of it is over already, in milliseconds: less than all of it.
   */
  start(milliseconds: number, used = 0): void {
    this.#timer ??= new ThreadTimer(this.#libc);
    this.#milliseconds = milliseconds;
    this.#exits = 0;
    this.#begin = performance.now();
    const rest = isInspected() ? Infinity : milliseconds - used;
    this.#end = this.#begin + rest;
    const first = Math.min(rest, this.#tick ?? Infinity);
    if (first < Infinity) this.#timer.arm(first, this.#tick);
  }

  /** Has the guest interrupted when so many milliseconds have passed, then at every tick again. */
  interrupt(milliseconds: number): void {
    this.#timer?.arm(milliseconds, this.#tick);
  }

  /** Ends it: no signal comes any more. */
  stop(): void {
    this.#timer?.disarm();
    this.#end = Infinity;
  }

  /** Whether the time is over. To be asked after EINTR. */
  isOver(): boolean {
    return performance.now() >= this.#end;
  }

  /** Whether the time is over, asked of the clock only now and then. To be asked after each exit. */
  isOverAfterExit(): boolean {
    return ++this.#exits % EXITS_PER_CHECK === 0 && this.isOver();
  }

  /** Deletes the timer. */
  [Symbol.dispose](): void {
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
