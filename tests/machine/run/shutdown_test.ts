import { anyExit, asm, boot, expect, portOut, UnhandledExitError } from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

/** Writes 7 to 0x900, which is all that a hasty test looks at, and triple-faults. */
const crash = asm`
  bits 64
  mov byte [0x900], 7
boom:
  ud2
`;

Deno.test("a guest that shuts down fails its run, with the page, at the line of the test", () => {
  using vm = boot(crash);
  const error = assertThrows(() => vm.run(), UnhandledExitError);
  assertMatch(error.message, /^The guest shut down at exit 1: it triple-faulted\. .*shutdown\(\)/);
  assertStringIncludes(error.message, "exits so far");
  assertMatch(error.stack!.split("\n").find((line) => /^ +at /.test(line))!, /shutdown_test\.ts/);
  expect(vm).toBeShutDown();
});

Deno.test("a run that was to end in a triple fault does, and one that halts instead fails", () => {
  using vm = boot(crash);
  assertEquals(vm.run({ until: "shutdown" }).reason, "SHUTDOWN");
  expect(vm).toBeShutDown();

  using halting = boot(asm`hlt`);
  assertThrows(
    () => halting.run({ until: "shutdown" }),
    UnhandledExitError,
    "The guest was to shut down, and its run ended at exit 1: HLT.",
  );
});

Deno.test("a step into a triple fault fails like a run", () => {
  using vm = boot(crash, { entry: "boom" });
  assertThrows(() => vm.step(), UnhandledExitError, "shut down");
});

Deno.test("a loop over the exits cannot go past a triple fault unseen", () => {
  using vm = boot(crash);
  const seen: string[] = [];
  assertThrows(
    () => {
      for (const { exit } of vm.exits()) seen.push(exit.reason);
    },
    UnhandledExitError,
    "shut down",
  );
  assertEquals(seen, ["SHUTDOWN"]);

  using expected = boot(crash);
  const reasons = Array.from(expected.exits({ until: "shutdown" }), ({ exit }) => exit.reason);
  assertEquals(reasons, ["SHUTDOWN"]);
});

Deno.test("a triple fault is not any exit", () => {
  using vm = boot(crash);
  assertThrows(() => expect(vm).toExit([anyExit()]), Error, "received SHUTDOWN");
});

Deno.test("a crash behind a status on the exit port fails the next run", () => {
  using vm = boot(
    asm`
      bits 64
      out 0xf4, al
      ud2
    `,
    { exitPort: 0xf4 },
  );
  vm.run();
  expect(vm).toHaveExitStatus(0);
  assertThrows(() => vm.run(), UnhandledExitError, "shut down");
});

Deno.test("a machine that has shut down is not run on, until its registers are set", () => {
  using vm = boot(asm`
    bits 64
    ud2
  again:
    out 0x80, al
    hlt
  `);
  vm.run({ until: "shutdown" });
  for (
    const run of [
      () => vm.run(),
      () => vm.run({ until: "shutdown" }),
      () => vm.step(),
      () => vm.exits().next(),
      () => expect(vm).toExit([portOut(0x80)]),
    ]
  ) {
    assertThrows(run, TypeError, "its guest has shut down (a triple fault)");
  }
});

Deno.test("a handler of SHUTDOWN decides: it may stop the run, or give the guest registers to go on with", () => {
  using stopped = boot(crash);
  stopped.on("SHUTDOWN", () => stopped.stop());
  assertEquals(stopped.run().reason, "SHUTDOWN");

  using idle = boot(crash);
  idle.on("SHUTDOWN", () => {});
  assertThrows(() => idle.run(), TypeError, "its handler has set no registers");

  using vm = boot(
    asm`
      ud2
      times 0x100 nop
    again:
      inc bx
      hlt
    `,
    { registers: { idt: { limit: 0 } } },
  );
  const atBoot = vm.kvm.vcpu.registers.getSregs();
  vm.on("SHUTDOWN", () => {
    vm.kvm.vcpu.registers.setSregs(atBoot);
    vm.registers.set({ rip: "again", bx: 8 });
  });
  assertEquals(vm.run().reason, "HLT");
  expect(vm).toHaveRegisters({ bx: 9 });
});

Deno.test("a run that was to end in a shutdown has no other end", () => {
  const end = "was to shut down, and its run ended at exit";
  using waiting = boot(
    asm`
      cli
      hlt
    `,
    { cpus: 2 },
  );
  assertThrows(() => waiting.run({ until: "shutdown" }), UnhandledExitError, end);
  using leaving = boot(asm`out 0xf4, al`, { exitPort: 0xf4 });
  assertThrows(() => leaving.run({ until: "shutdown" }), UnhandledExitError, end);
  using halting = boot(asm`hlt`);
  assertThrows(() => Array.from(halting.exits({ until: "shutdown" })), UnhandledExitError, end);
});

Deno.test("what names its own end takes no other", () => {
  using vm = boot(asm`hlt`, { catchFaults: true });
  const options = { until: "shutdown" } as const;
  for (
    const call of [
      () => vm.step(options),
      () => expect(vm).toExit([portOut(0x80)], options),
      () => expect(vm).toRunOutOfTime(options),
      () => expect(vm).toFault("#GP", {}, options),
    ]
  ) assertThrows(call, TypeError, "only run() and exits() end so");
  assertEquals(vm.hasRun, false);
});
