import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, hlt, type Machine, PendingEventError, portOut } from "@vmexit/vmexit";

/** Keeps interrupts off, writes to a port, and halts; it is called, too. */
const OFF = asm`
  cli
  out 0x80, al
  hlt
  sti
  nop
  hlt
handler:
  out 0x90, al
  iret
routine:
  ret
stop:
  out 0xf4, al
  hlt
`;

function off(more: Parameters<typeof boot>[1] = {}): Machine {
  return boot(
    OFF,
    {
      gates: { 0x40: "handler" },
      ports: { 0x80: { write() {} }, 0x90: { write() {} } },
      exitPort: 0xf4,
      ...more,
    } as Parameters<typeof boot>[1],
  );
}

const NOT_TAKEN = "The run has ended, and the guest has not taken what was injected: " +
  "interrupt 0x40 (RFLAGS.IF is clear). Let the guest take it before it ends, or say that it is to stay pending: " +
  "vm.run({ pending: true }).";

const ENDS: Record<string, (vm: Machine) => unknown> = {
  "HLT": (vm) => vm.run(),
  "a loop over the exits": (vm) => [...vm.exits()],
  "a transcript": (vm) => expect(vm).toExit([portOut(0x80), hlt()]),
  "a transcript that ends before the guest does": (vm) => expect(vm).toExit([portOut(0x80)]),
  "a transcript with silence behind it": (vm) =>
    expect(vm).toExit([portOut(0x80)], { then: "silence" }),
  "a handler that stops": (vm) => {
    vm.on("HLT", () => vm.stop());
    vm.run();
  },
  "the exit port": (vm) => {
    vm.registers.rip = "stop";
    vm.run();
  },
  "a call's return": (vm) => vm.call("routine"),
  "the return of a call with a transcript": (vm) => expect(vm).toCall("routine", {}, []),
};

for (const [name, run] of Object.entries(ENDS)) {
  Deno.test(`an injected interrupt that is never taken: ${name}`, () => {
    using vm = off();
    vm.inject.interrupt(0x40);
    const { message, stack } = assertThrows(() => run(vm), PendingEventError);
    assertEquals(message.split("\n")[0], NOT_TAKEN);
    if (!name.includes("loop")) {
      assertStringIncludes(stack!.split("\n    at ")[1], "pending_events_test");
    }
    assertEquals(vm.inject.waiting, [0x40]);
  });
}

Deno.test("that it stays pending can be said, and then it must", () => {
  const pending = { pending: true };
  using vm = off();
  vm.inject.interrupt(0x40);
  expect(vm).toExit([portOut(0x80), hlt()], pending);
  expect(vm).toCall("routine", {}, [], pending);
  vm.call("routine", {}, pending);
  assertEquals(vm.inject.waiting, [0x40]);
  // It is taken in the end: behind the first HLT.
  expect(vm).toExit([portOut(0x90), hlt()]);
  using run = off();
  run.inject.interrupt(0x40);
  run.run(pending);
  for (const _ of run.exits({ pending: false, timeout: 100 }));
  assertEquals(run.inject.waiting, []);
  for (
    const takes of [
      (vm: Machine) => vm.run(pending),
      (vm: Machine) => [...vm.exits(pending)],
      (vm: Machine) => expect(vm).toExit([portOut(0x80), hlt()], pending),
      (vm: Machine) => vm.call("routine", {}, pending),
    ]
  ) {
    using none = off();
    assertThrows(
      () => takes(none),
      PendingEventError,
      "nothing that was injected, or planned of a device, is still pending",
    );
  }
  assertThrows(
    () => off().run({ pending: 1 as never }),
    TypeError,
    "with the option pending 1: give true or false",
  );
});

Deno.test("a HLT in the middle of a transcript is no end", () => {
  using vm = off();
  vm.inject.interrupt(0x40);
  expect(vm).toExit([portOut(0x80), hlt(), portOut(0x90), hlt()]);
});

Deno.test("where a run ends for the test's sake, what was injected may wait", () => {
  using vm = off();
  vm.inject.interrupt(0x40);
  const breakpoint = vm.debug.breakAt(0x501);
  assertEquals(vm.run().reason, "DEBUG");
  breakpoint[Symbol.dispose]();
  for (const { exit } of vm.exits()) {
    assertEquals(exit.reason, "IO");
    break;
  }
  assertThrows(() => vm.run(), PendingEventError);
  expect(vm).toExit([portOut(0x90), hlt()]);
  using loops = boot(asm`
    cli
    jmp $
  `);
  loops.inject.interrupt(0x40);
  expect(loops).toRunOutOfTime({ timeout: 5 });
});

Deno.test("why it is not taken: a CPU that has not run since, an interrupt behind another, an NMI that is blocked", () => {
  using stopped = boot(
    asm`
      sti
      nop
      out 0x80, al
      hlt
    `,
    { gates: { 0x40: 0x600 } },
  );
  stopped.ports.on(0x80, {
    write() {
      stopped.inject.interrupt(0x40);
      stopped.inject.interrupt(0x41);
      stopped.inject.nmi();
      stopped.stop();
    },
  });
  assertThrows(
    () => stopped.run(),
    PendingEventError,
    "interrupt 0x40 (the CPU has not run since), interrupt 0x41 (the CPU has not run since), " +
      "NMI (the CPU has not run since)",
  );
  using blocked = boot(
    asm`
      nop
    on_nmi:
      out 0x80, al
      hlt
    `,
    { gates: { 2: "on_nmi" } },
  );
  blocked.ports.on(0x80, { write: () => blocked.inject.nmi() });
  blocked.inject.nmi();
  assertThrows(() => blocked.run(), PendingEventError, "NMI (NMIs are blocked until IRET)");
});

Deno.test("of several CPUs it is told whose it is, and one that stands still by the test's will has not ended", () => {
  using vm = boot(
    asm`
      hlt
      hlt
    `,
    { cpus: [{}, {}] },
  );
  vm.cpus[1].inject.interrupt(0x40);
  for (const _ of vm.exits({ cpus: [0] }));
  assertThrows(
    () => vm.run(),
    PendingEventError,
    "CPU 1 has not taken what was injected: interrupt 0x40 (RFLAGS.IF is clear)",
  );
});

Deno.test("an exception for a CPU that is never started is not taken", () => {
  using vm = boot(
    asm`
      bits 32
      cli
      hlt
    `,
    { cpus: [{}, {}], irqchip: true },
  );
  vm.cpus[1].mpState = "UNINITIALIZED";
  vm.cpus[1].inject.exception("#UD");
  assertThrows(
    () => vm.run(),
    PendingEventError,
    "CPU 1 has not taken what was injected: #UD (the CPU has not run since)",
  );
});

Deno.test("where the run ends for the test's sake, the option would say nothing, and is refused", () => {
  using vm = off({ catchFaults: true });
  const pending = { pending: true };
  for (
    const misuse of [
      () => vm.step(pending),
      () => expect(vm).toRunOutOfTime(pending),
      () => expect(vm).toFault("#UD", {}, pending),
    ]
  ) {
    assertThrows(misuse, TypeError, "Cannot run with the option pending here");
  }
  assertEquals(vm.log.total, 0);
});
