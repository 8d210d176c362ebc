import { asm, boot, type Machine, TimeLimitError } from "@vmexit/vmexit";
import { emulatedMachineName } from "../../../lib/machine/host/emulated_machine.ts";
import { RunTime, scaledTimeout, TimeLimit } from "../../../lib/machine/run/time_limit.ts";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertLess, assertStringIncludes, assertThrows } from "@std/assert";

const LIMIT = 15;
/** What limits are multiplied by where nobody says otherwise. */
const OWN_SCALE = emulatedMachineName() === undefined ? 1 : 20;
/** How late a stop may come, on a host that time limits are not stretched for. */
const GRACE = 100;

/** The error of a run that must be stopped in time. */
function stopped(run: () => unknown): TimeLimitError {
  const begin = performance.now();
  const error = assertThrows(run, TimeLimitError);
  const took = performance.now() - begin;
  assertLess(took, scaledTimeout(LIMIT + GRACE), `stopped after ${took} ms`);
  assert(took >= scaledTimeout(LIMIT), `stopped after ${took} ms already`);
  assertEquals(error.milliseconds, scaledTimeout(LIMIT));
  return error;
}

/** A machine that hangs at its label `hang` until BX is set, and then halts. */
const looping = (): Machine =>
  boot(
    asm`
    hang:
      test bx, bx
      jz hang
      mov cx, 0x55
      hlt
    `,
    { timeout: LIMIT },
  );

Deno.test("a guest in an endless loop is stopped, the error says where, and it runs on", () => {
  using vm = looping();
  const error = stopped(() => vm.run());
  const hang = vm.image.symbol("hang");
  assert(error.rip >= hang && error.rip <= hang + 4n, `rip ${error.rip}`);
  assert(error.message.includes(`it was stopped at rip 0x${error.rip.toString(16)}`));
  assert(error.message.includes("hang"));
  assertEquals(vm.registers.rip, error.rip);
  vm.registers.bx = 1;
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.cx, 0x55);
});

Deno.test("jmp $ is stopped in real and in long mode", () => {
  for (const bits of [16, 64] as const) {
    using vm = boot(
      asm`
        bits ${bits}
        jmp $
      `,
      { mode: bits === 64 ? "long" : "real", timeout: LIMIT },
    );
    assertEquals(stopped(() => vm.run()).rip, BigInt(vm.image.entry));
  }
});

Deno.test("a guest that storms exits is stopped, and no exit is lost", () => {
  using vm = boot(
    asm`
    again:
      inc ecx
      out 0x10, al
      in  al, 0x10
      jmp again
    `,
    { timeout: LIMIT },
  );
  let writes = 0;
  vm.ports.on(0x10, { write: () => void writes++, read: () => writes & 0xff });
  for (let round = 0; round < 2; round++) stopped(() => vm.run());
  // Whichever exit the limit came at, the device sees it when the guest runs on.
  vm.ports.on(0x11, { write() {} });
  assert(vm.log.total > 4);
  const { ecx } = vm.registers;
  assert(writes === ecx || writes === ecx - 1, `${writes} of ${ecx}`);
});

Deno.test("a guest that waits in HLT with the interrupt controller in the kernel is stopped", () => {
  using vm = boot(
    asm`
      mov al, 7
      sti
      hlt
    `,
    { irqchip: true, timeout: LIMIT },
  );
  const error = stopped(() => vm.run());
  assertStringIncludes(error.message, "It is halted, waiting for an interrupt: raise one by");
  assertEquals(error.rip, BigInt(vm.image.origin) + 4n);
  assertEquals(vm.registers.al, 7);
});

Deno.test("a step is under the time limit too", () => {
  using vm = boot(
    asm`
      sti
      hlt
    `,
    { irqchip: true, timeout: LIMIT },
  );
  stopped(() => {
    for (let steps = 0; steps < 3; steps++) vm.step();
  });
});

Deno.test("a run can have a limit of its own", () => {
  using vm = boot(asm`jmp $`);
  stopped(() => vm.run({ timeout: LIMIT }));
});

Deno.test("exits are under the time limit, which does not count while test code has control", () => {
  using vm = boot(
    asm`
      out 0x10, al
      out 0x10, al
      jmp $
    `,
    { timeout: LIMIT },
  );
  const exits = vm.exits();
  exits.next();
  const until = performance.now() + 2 * scaledTimeout(LIMIT);
  while (performance.now() < until);
  exits.next();
  assertThrows(() => exits.next(), TimeLimitError);
});

Deno.test("time that is left out, as that which a report takes, does not count", () => {
  using limit = new TimeLimit(kvmLibc(), 1);
  const time = new RunTime(1, true);
  limit.start(time);
  const begin = performance.now();
  while (performance.now() < begin + 2);
  assert(limit.isOver());
  limit.leaveOut(10_000);
  assertEquals(limit.isOver(), false);
  limit.stop();
  assertLess(time.used, 0);
});

Deno.test("a limit that is none is refused before anything runs", () => {
  using vm = boot(asm`hlt`);
  for (const timeout of [0, -1, NaN, Infinity]) {
    assertThrows(() => vm.run({ timeout }), RangeError, `Cannot limit a run to ${timeout} ms`);
    assertThrows(() => boot(asm`hlt`, { timeout }), RangeError, `Cannot limit a run`);
  }
  assertEquals(vm.log.total, 0);
});

Deno.test("VMEXIT_TIMEOUT_SCALE stretches the limit, and a value that is no scale is refused", () => {
  const before = Deno.env.get("VMEXIT_TIMEOUT_SCALE");
  try {
    Deno.env.set("VMEXIT_TIMEOUT_SCALE", "2.5");
    assertEquals(scaledTimeout(100), 250);
    Deno.env.set("VMEXIT_TIMEOUT_SCALE", "");
    assertEquals(scaledTimeout(100), 100 * OWN_SCALE);
    for (const scale of ["fast", "0", "-1", "NaN", "Infinity"]) {
      Deno.env.set("VMEXIT_TIMEOUT_SCALE", scale);
      const message = `VMEXIT_TIMEOUT_SCALE=${scale}: it is not a positive number`;
      assertThrows(() => scaledTimeout(100), RangeError, message);
      assertThrows(() => boot(asm`hlt`), RangeError, message);
    }
  } finally {
    if (before === undefined) Deno.env.delete("VMEXIT_TIMEOUT_SCALE");
    else Deno.env.set("VMEXIT_TIMEOUT_SCALE", before);
  }
});

Deno.test("the error says how VMEXIT_TIMEOUT_SCALE stretched the limit, and nothing of it where it did not", () => {
  const before = Deno.env.get("VMEXIT_TIMEOUT_SCALE");
  try {
    for (
      const [scale, limit] of [
        ["2", `${2 * LIMIT} ms (${LIMIT} ms × VMEXIT_TIMEOUT_SCALE=2)`],
        ["1", `${LIMIT} ms`],
      ]
    ) {
      Deno.env.set("VMEXIT_TIMEOUT_SCALE", scale);
      using vm = boot(asm`jmp $`, { timeout: LIMIT });
      assertThrows(() => vm.run(), TimeLimitError, `did not end within ${limit}: it was stopped`);
    }
  } finally {
    if (before === undefined) Deno.env.delete("VMEXIT_TIMEOUT_SCALE");
    else Deno.env.set("VMEXIT_TIMEOUT_SCALE", before);
  }
});

Deno.test({
  name: "without permission to read the environment limits are as this KVM wants them",
  permissions: { env: false, ffi: true },
  fn: () => assertEquals(scaledTimeout(100), 100 * OWN_SCALE),
});

/** Lets time pass that is the test's own. */
function spend(milliseconds: number): void {
  const until = performance.now() + milliseconds;
  while (performance.now() < until);
}

Deno.test("a loop whose guest hangs is stopped, whatever its body took or ran before", () => {
  const bodies: readonly ((vm: Machine) => void)[] = [
    () => spend(scaledTimeout(1.5 * LIMIT)),
    (vm) => assertEquals(vm.step().reason, "DEBUG"),
    () => {},
  ];
  for (const body of bodies) {
    using vm = boot(
      asm`
        out 0x10, al
        inc bl
        out 0x10, al
        inc bl
        jmp $
      `,
      { timeout: LIMIT },
    );
    let began = 0;
    assertThrows(() => {
      for (const _ of vm.exits()) {
        body(vm);
        began = performance.now();
      }
    }, TimeLimitError);
    const took = performance.now() - began;
    // The limit is told by signals, of which the first may come at once.
    assert(took >= scaledTimeout(LIMIT) * 14 / 16, `stopped after ${took} ms already`);
    assertLess(took, scaledTimeout(LIMIT + GRACE), `stopped after ${took} ms`);
    assertEquals(vm.registers.bl, 2);
  }
});

Deno.test("a body may take as long as it likes at each exit, however many there are", () => {
  using vm = boot(
    asm`
      mov cx, 20
    again:
      out 0x10, al
      loop again
      hlt
    `,
    { timeout: LIMIT },
  );
  let exits = 0;
  for (const _ of vm.exits()) {
    exits++;
    spend(scaledTimeout(LIMIT) / 4);
  }
  assertEquals(exits, 21);
});

Deno.test("a guest that storms exits is stopped in a loop over them", () => {
  using vm = boot(
    asm`
    again:
      inc ecx
      out 0x10, al
      jmp again
    `,
    { timeout: LIMIT },
  );
  let exits = 0;
  const began = performance.now();
  assertThrows(() => {
    for (const _ of vm.exits()) exits++;
  }, TimeLimitError);
  // A machine at arm's length is waited for on both sides.
  assertLess(performance.now() - began, 3 * scaledTimeout(LIMIT + GRACE));
  assert(vm.registers.ecx - exits <= 1, `${vm.registers.ecx} writes, ${exits} exits`);
});
