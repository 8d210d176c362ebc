import { SystemError } from "@vmexit/vmexit";
import { libc, openHandles } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { ThreadTimer } from "../../lib/ffi/thread_timer.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "./fake_libc.ts";

/** What a `struct itimerspec` says, in nanoseconds: the interval and the first expiry. */
function timerspec(bytes: Uint8Array): [interval: bigint, value: bigint] {
  const view = new DataView(bytes.buffer);
  const at = (offset: number) =>
    view.getBigInt64(offset, true) * 1_000_000_000n + view.getBigInt64(offset + 8, true);
  return [at(0), at(16)];
}

function timers(handled = (_action: Uint8Array<ArrayBuffer>) => {}) {
  const set: [bigint, bigint][] = [];
  const fake = fakeLibc({
    errno: () => ERRNO.EAGAIN,
    functionAddress: () => 0x1234n,
    gettid: () => 42,
    sigaction: (_signal, action) => (handled(action), 0),
    timer_create: (_clock, event, id) => {
      assertEquals(new DataView(event.buffer).getInt32(16, true), 42);
      new DataView(id.buffer).setBigUint64(0, 99n, true);
      return 0;
    },
    timer_settime: (_id, value) => (set.push(timerspec(value)), 0),
    timer_delete: () => 0,
  });
  return { ...fake, set };
}

Deno.test("a timer signals its own thread, first after the limit and then again and again", () => {
  const before = openHandles().timers;
  const { libc, calls, set } = timers();
  {
    using timer = new ThreadTimer(libc);
    assertEquals(openHandles().timers, before + 1);
    timer.arm(20);
    timer.arm(2500.5);
    // A limit of zero must still interrupt: zero would disarm.
    timer.arm(0);
    timer.disarm();
  }
  assertEquals(set, [
    [5_000_000n, 20_000_000n],
    [5_000_000n, 2_500_500_000n],
    [5_000_000n, 1n],
    [0n, 0n],
  ]);
  assertEquals(calls.at(-1), "timer_delete(99)");
  assertEquals(openHandles().timers, before);
});

Deno.test("the handler is installed once for a libc", () => {
  const { libc, calls } = timers();
  new ThreadTimer(libc)[Symbol.dispose]();
  new ThreadTimer(libc)[Symbol.dispose]();
  assertEquals(calls.filter((call) => call.startsWith("sigaction")), ["sigaction(43)"]);
});

Deno.test("the handler is a function of libc, and calls that the signal interrupts are restarted", () => {
  const actions: [handler: bigint, flags: number, size: number][] = [];
  const { libc } = timers((action) => {
    const view = new DataView(action.buffer);
    actions.push([view.getBigUint64(0, true), view.getInt32(136, true), action.length]);
  });
  new ThreadTimer(libc)[Symbol.dispose]();
  // SA_RESTART of <bits/sigaction.h>, whose struct sigaction has 152 bytes.
  assertEquals(actions, [[0x1234n, 0x1000_0000, 152]]);
});

Deno.test("each call that fails is named, and nothing is left over", () => {
  const before = openHandles().timers;
  const failing = (call: string) => {
    const { libc } = timers();
    return { ...pick(libc), [call]: () => -1 };
  };
  assertThrows(
    () => new ThreadTimer(failing("sigaction")),
    SystemError,
    "sigaction failed with EAGAIN",
  );
  assertThrows(() => new ThreadTimer(failing("timer_create")), SystemError, "timer_create failed");
  assertEquals(openHandles().timers, before);
  using timer = new ThreadTimer(failing("timer_settime"));
  assertThrows(() => timer.arm(1), SystemError, "timer_settime failed with EAGAIN (11)");
});

Deno.test("once disposed it is refused", () => {
  const { libc } = timers();
  const timer = new ThreadTimer(libc);
  timer[Symbol.dispose]();
  timer[Symbol.dispose]();
  assertThrows(() => timer.arm(1), TypeError, "Cannot use a timer: it is disposed");
  assertThrows(() => timer.disarm(), TypeError, "Cannot use a timer: it is disposed");
});

Deno.test("for real: signals are caught by libc, aimed at this thread, and the process lives on", () => {
  const before = posixTimers();
  {
    using timer = new ThreadTimer(libc());
    const caught = /^SigCgt:\s+([0-9a-f]+)$/m.exec(Deno.readTextFileSync("/proc/self/status"))![1];
    assertEquals(BigInt(`0x${caught}`) >> 42n & 1n, 1n);
    const [mine] = posixTimers().filter((each) => !before.includes(each));
    assert(mine.includes("signal: 43/") && mine.includes(`tid.${libc().gettid()}`), mine);
    // Without a handler the first signal would end this process.
    const until = performance.now() + 40;
    timer.arm(5);
    while (performance.now() < until);
    timer.disarm();
  }
  assertEquals(posixTimers(), before);
});

/** The POSIX timers of this process, as the kernel lists them. */
function posixTimers(): string[] {
  return Deno.readTextFileSync("/proc/self/timers").split(/^(?=ID:)/m).filter((timer) =>
    timer !== ""
  );
}

function pick(libc: ReturnType<typeof timers>["libc"]) {
  const { errno, functionAddress, gettid, sigaction, timer_create, timer_settime, timer_delete } =
    libc;
  return {
    ...({} as typeof libc),
    errno,
    functionAddress,
    gettid,
    sigaction,
    timer_create,
    timer_settime,
    timer_delete,
  };
}
