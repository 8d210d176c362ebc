import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, hlt, portOut, UnhandledExitError } from "@vmexit/vmexit";
import { failureOf, linesFrom } from "../messages.ts";

Deno.test("what a guest that has not run did is none", () => {
  using vm = boot(
    asm`
    mov al, 3
    out 0xf4, al
  `,
    { exitPort: 0xf4, serial: false },
  );
  const halt = failureOf(() => expect(vm).toBeHalted()).message;
  assertStringIncludes(halt, "received none: the guest has not run");
  const status = failureOf(() => expect(vm).toHaveExitStatus(3)).message;
  assertStringIncludes(status, "received none: the guest has not written to its exit port");
  assertThrows(() => expect(vm).toHaveSerial(""), TypeError, "booted with `serial: false`");
  vm.run();
  expect(vm).toHaveExitStatus(3);
  expect(vm).not.toHaveExitStatus(4);
  const other = linesFrom(() => expect(vm).toHaveExitStatus(4), "  exit status", 2);
  assertEquals(other, ["  exit status  expected 0x4", "               received 0x3"]);
});

Deno.test("a guest that loops for ever runs out of time, and can be run on", () => {
  using vm = boot(asm`
  again:
    cmp al, 1
    jne again
    hlt
  `);
  expect(vm).toRunOutOfTime({ timeout: 5 });
  expect(vm).not.toBeHalted();
  vm.registers.al = 1;
  const { message } = failureOf(() => expect(vm).toRunOutOfTime());
  assertStringIncludes(message, "expected a guest that runs until it is stopped");
  assertStringIncludes(message, "received HLT, exit 1");
});

Deno.test("an exit that nobody answers is an error of toRunOutOfTime, not a failure", () => {
  using vm = boot(asm`
    out 0x80, al
  `);
  const error = assertThrows(() => expect(vm).toRunOutOfTime(), UnhandledExitError);
  assertStringIncludes(error.stack!.split("\n    at ")[1], "end_test.ts");
});

Deno.test("a guest that was run on from its halt, and stopped, is not halted", () => {
  using vm = boot(asm`
    hlt
    jmp $
  `);
  vm.run();
  expect(vm).toBeHalted();
  expect(vm).toRunOutOfTime({ timeout: 5 });
  expect(vm).not.toBeHalted();
  assertStringIncludes(
    failureOf(() => expect(vm).toBeHalted()).message,
    "received HLT, from where the guest ran on until it was stopped",
  );
});

Deno.test("a guest that was stopped by its time limit has run", () => {
  using vm = boot(asm`jmp $`);
  expect(vm).toRunOutOfTime({ timeout: 5 });
  expect(vm).not.toHaveSerialContaining("panic");
});

Deno.test("a CPU that was brought elsewhere from its HLT, or its end, is not halted", () => {
  using vm = boot(asm`
    hlt
    nop
  elsewhere:
    nop
    hlt
  routine:
    hlt
    ret
  `);
  vm.run();
  vm.registers.rax = 5n;
  expect(vm).toBeHalted();
  vm.registers.rip = "elsewhere";
  assertStringIncludes(
    failureOf(() => expect(vm).toBeHalted()).message,
    "was brought elsewhere (rip or cs was set)",
  );
  // What was set has been brought into the vCPU.
  vm.kvm;
  expect(vm).not.toBeHalted();
  vm.run();
  expect(vm).toBeHalted();
  vm.on("HLT", () => {});
  vm.call("routine");
  expect(vm).toBeHalted();
  using ended = boot(asm`ud2`, { idt: false, mode: "protected" });
  ended.run({ until: "shutdown" });
  expect(ended).toBeShutDown();
  ended.registers.rip = 0x500n;
  expect(ended).not.toBeShutDown();
});

Deno.test("a status of an earlier run is none of this one", () => {
  using vm = boot(
    asm`
    mov al, 1
    out 0xf4, al
    hlt
    out 0xf4, al
  routine:
    ret
  `,
    { exitPort: 0xf4 },
  );
  vm.run();
  vm.call("routine");
  expect(vm).toHaveExitStatus(1);
  vm.run();
  assertEquals(vm.exitStatus, undefined);
  const earlier = "the guest wrote 0x1 to its exit port in an earlier run, and nothing in this one";
  assertStringIncludes(failureOf(() => expect(vm).toHaveExitStatus(1)).message, earlier);
  assertThrows(() => expect(vm).not.toHaveExitStatus(2), TypeError, earlier);
  vm.run();
  expect(vm).toHaveExitStatus(1);
  vm.registers.rip = vm.image.entry;
  expect(vm).toExit([portOut(0xf4)]);
  expect(vm).toHaveExitStatus(1);
  vm.registers.rip = vm.image.entry + 4n;
  expect(vm).toExit([hlt()]);
  assertEquals(vm.exitStatus, undefined);
});

Deno.test("a CPU that waits for its SIPI does not run", () => {
  using vm = boot(
    asm`
    bits 32
    jmp $
    `,
    { cpus: [{}, {}], irqchip: true },
  );
  vm.cpus[1].mpState = "UNINITIALIZED";
  expect(vm).toRunOutOfTime({ timeout: 20 });
  assertStringIncludes(
    failureOf(() => expect(vm.cpus[1]).toRunOutOfTime({ timeout: 20 })).message,
    "where it had not been started: it waited for a SIPI (UNINITIALIZED)",
  );
});
