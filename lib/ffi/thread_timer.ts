import type { Libc } from "./libc.ts";
import { countHandle } from "./handles.ts";
import { SystemError } from "./errors.ts";

const CLOCK_MONOTONIC = 1;

/** `SIGEV_THREAD_ID` of `bits/sigevent-consts.h`: deliver to one thread of this process. */
const SIGEV_THREAD_ID = 4;

/**
 * A real-time signal away from both ends: glibc keeps 32 and 33 for itself, and programs tend to take
 * SIGRTMIN and SIGRTMAX.
 */
export const TIMER_SIGNAL = 43;

/** `SA_RESTART` of `bits/sigaction.h`. */
export const SA_RESTART = 0x1000_0000;

/** `struct sigaction` of glibc on x86-64: handler, 128 bytes of mask, flags, restorer. */
const SIGACTION = { size: 152, handler: 0, flags: 136 } as const;

/** `struct sigevent` on x86-64. */
const SIGEVENT = { size: 64, signal: 8, notify: 12, threadId: 16 } as const;

/** `struct itimerspec`: the interval, then the first expiry, each as seconds and nanoseconds. */
export const ITIMERSPEC = { size: 32, interval: 0, value: 16 } as const;

const DISARMED = new Uint8Array(new ArrayBuffer(ITIMERSPEC.size));

const TIMER_ID_SIZE = 8;

/**
 * How often the signal repeats after the first one: one that lands just before the ioctl must not be the
 * last.
 */
const REPEAT_MILLISECONDS = 5;

const MILLISECONDS_PER_SECOND = 1_000;
const NANOSECONDS_PER_MILLISECOND = 1_000_000;

const handled = new WeakSet<Libc>();

/**
 * A timer that interrupts a blocking system call of the thread that made it: a periodic signal aimed at
 * that thread, whose handler is a function of libc. No JavaScript runs in the handler.
 *
 * It is what stops a `KVM_RUN` whose guest never exits: the ioctl returns -1 with EINTR. Arming and disarming
 * cost one system call each (timer_settime(2)).
 */
export class ThreadTimer implements Disposable {
  readonly #libc: Libc;
  readonly #value = new DataView(new ArrayBuffer(ITIMERSPEC.size));
  readonly #valueBytes = new Uint8Array(this.#value.buffer);
  /** What {@linkcode ThreadTimer.arm} was given last: most runs are given the same. */
  #armed = { milliseconds: 0, repeat: 0 };
  #timerId: bigint | undefined;

  /** @throws {SystemError} When the kernel gives no timer. */
  constructor(libc: Libc) {
    this.#libc = libc;
    installHandler(libc);
    const event = new DataView(new ArrayBuffer(SIGEVENT.size));
    event.setInt32(SIGEVENT.signal, TIMER_SIGNAL, true);
    event.setInt32(SIGEVENT.notify, SIGEV_THREAD_ID, true);
    event.setInt32(SIGEVENT.threadId, libc.gettid(), true);
    const timerId = new BigUint64Array(1);
    const created = libc.timer_create(
      CLOCK_MONOTONIC,
      new Uint8Array(event.buffer),
      new Uint8Array(timerId.buffer, 0, TIMER_ID_SIZE),
    );
    if (created !== 0) {
      throw new SystemError("timer_create", libc.errno(), "a run could not be given a time limit");
    }
    this.#timerId = timerId[0];
    countHandle("timers", 1);
  }

  /**
   * Signals the thread once `milliseconds` have passed, and again and again until {@linkcode disarm}.
   *
   * @param repeat How long from one signal to the next, in milliseconds.
   */
  arm(milliseconds: number, repeat: number = REPEAT_MILLISECONDS): void {
    if (milliseconds !== this.#armed.milliseconds || repeat !== this.#armed.repeat) {
      this.#set(ITIMERSPEC.interval, repeat);
      this.#set(ITIMERSPEC.value, milliseconds);
      this.#armed = { milliseconds, repeat };
    }
    this.#apply(this.#valueBytes);
  }

  /** Stops signalling. */
  disarm(): void {
    this.#apply(DISARMED);
  }

  /** Deletes the timer; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#timerId === undefined) return;
    this.#libc.timer_delete(this.#timerId);
    this.#timerId = undefined;
    countHandle("timers", -1);
  }

  #set(offset: number, milliseconds: number): void {
    // Zero would disarm the timer: a limit that is already over still has to interrupt.
    const nanoseconds = Math.max(1, Math.round(milliseconds * NANOSECONDS_PER_MILLISECOND));
    const perSecond = MILLISECONDS_PER_SECOND * NANOSECONDS_PER_MILLISECOND;
    this.#value.setBigInt64(offset, BigInt(Math.floor(nanoseconds / perSecond)), true);
    this.#value.setBigInt64(offset + 8, BigInt(nanoseconds % perSecond), true);
  }

  #apply(value: Uint8Array<ArrayBuffer>): void {
    if (this.#timerId === undefined) throw new TypeError("Cannot use a timer: it is disposed");
    if (this.#libc.timer_settime(this.#timerId, value) !== 0) {
      throw new SystemError("timer_settime", this.#libc.errno(), "a run's time limit was not set");
    }
  }
}

function installHandler(libc: Libc): void {
  if (handled.has(libc)) return;
  const action = new DataView(new ArrayBuffer(SIGACTION.size));
  // getpid takes nothing, does nothing and returns: as good as an empty handler, and never JavaScript.
  action.setBigUint64(SIGACTION.handler, libc.functionAddress("getpid"), true);
  // KVM_RUN returns EINTR whatever this says; calls that a device's handler makes meanwhile are restarted.
  action.setInt32(SIGACTION.flags, SA_RESTART, true);
  if (libc.sigaction(TIMER_SIGNAL, new Uint8Array(action.buffer)) !== 0) {
    throw new SystemError("sigaction", libc.errno(), "a run could not be given a time limit");
  }
  handled.add(libc);
}
