import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, UnhandledExitError } from "@vmexit/vmexit";
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
