import {
  asm,
  AssertionError,
  boot,
  CallError,
  expect,
  hlt,
  portIn,
  portOut,
  rdmsr,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { failureOf } from "../messages.ts";

const driver = asm.file("../../../guests/uart_driver.asm");
const READY = 0x20;

const sends = [
  portIn(0x3fd).returns(0).times(2),
  portIn(0x3fd).returns(READY),
  portOut(0x3f8, "A"),
];

Deno.test("a routine's exits are those of the transcript, which answers them, and it returns", () => {
  using vm = boot(driver, { mode: "long" });
  const { rip, rsp } = vm.registers;
  expect(vm).toCall("uart_putc", { al: 0x41 }, sends);
  assertEquals([vm.registers.rip, vm.registers.rsp, vm.registers.al], [rip, rsp, 0x41]);
  // What a transcript foresees, a device sees all the same.
  expect(vm).toHaveSerial("A");
  expect(vm).toCall("uart_getc", {}, [
    portIn(0x3fd).returns(1),
    portIn(0x3f8).returns(0x5a),
  ]);
  assertEquals(vm.registers.al, 0x5a);
});

Deno.test("a routine without exits has an empty transcript, by the C convention and on any CPU", () => {
  using vm = boot(driver, { mode: "long", cpus: [{}, {}] });
  expect(vm.cpus[1]).toCall("difference", [5, 3], []);
  assertEquals(vm.cpus[1].registers.rax, 2n);
});

Deno.test("a guest that had halted still has", () => {
  using vm = boot(driver);
  expect(vm).toExit([hlt()]);
  expect(vm).toCall("uart_putc", { al: 0x41 }, sends);
  expect(vm).toBeHalted();
});

Deno.test("what is not exactly the transcript fails, at the test's line", () => {
  using vm = boot(driver);
  const fails = (call: () => void, text: RegExp) => {
    const error = assertThrows(call, AssertionError);
    assertMatch(error.message, text);
    assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
  };
  const al = { al: 0x41 };
  fails(
    () => expect(vm).toCall("uart_putc", al, sends.toSpliced(2, 1, portOut(0x3f8, "B"))),
    /toCall\("uart_putc", …, \[3 patterns\]\)[^]*expected IO out 0x3f8 .*"B"[^]*received IO out 0x3f8 .*"A"/,
  );
  vm.registers.set({ rip: 0x500, sp: 0x7c00 });
  // COM1 would answer it.
  fails(
    () => expect(vm).toCall("uart_putc", al, [portIn(0x3fd).returns(READY)]),
    /expected its return\s+received IO out 0x3f8/,
  );
  vm.registers.set({ rip: 0x500, sp: 0x7c00 });
  fails(() => expect(vm).toCall("uart_putc", al, []), /expected its return\s+received IO in 0x3fd/);
  vm.registers.set({ rip: 0x500, sp: 0x7c00 });
  fails(
    () => expect(vm).toCall("uart_putc", al, [...sends, portOut(0x3f8, "B")]),
    /expected IO out 0x3f8 .*"B"\s+received nothing: it has returned/,
  );
  fails(
    () =>
      expect(vm).toCall("uart_getc", {}, [portIn(0x3fd).returns(0).times({ atLeast: 1 })], {
        timeout: 20,
      }),
    /received nothing within .* it still ran/,
  );
});

Deno.test("a halt that the transcript has is gone past; a routine that comes back otherwise fails", () => {
  using vm = boot(driver);
  expect(vm).toCall("halts", {}, [hlt()]);
  assertThrows(() => expect(vm).toCall("halts", {}, []), AssertionError, "received HLT");
  using other = boot(driver);
  const error = assertThrows(() => expect(other).toCall("unbalanced", {}, []), CallError);
  assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
});

Deno.test("a read that nobody answers, and what is no transcript, are errors", () => {
  using vm = boot(driver, { serial: false });
  assertThrows(
    () => expect(vm).toCall("uart_getc", {}, [portIn(0x3fd), portIn(0x3f8)]),
    UnhandledExitError,
    "uart_getc did not return",
  );
  using fresh = boot(driver);
  assertThrows(
    () => expect(fresh).toCall("uart_getc", {}, undefined as never),
    TypeError,
    "undefined",
  );
  assertThrows(() => expect(fresh).toCall("uart_getc", {}, [1 as never]), TypeError, "element 0");
  const error = assertThrows(
    () => expect(fresh).toCall("uart_gtc", {}, []),
    RangeError,
    "uart_getc",
  );
  assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
  assertThrows(
    () => expect(fresh).toCall("uart_getc", {}, [], { until: "halted" } as never),
    TypeError,
    "until",
  );
});

Deno.test("a device that stops the machine in a routine ends it: it has not returned", () => {
  using vm = boot(
    asm`
      hlt
    ends:
      mov al, 1
      out 0xf4, al
      ret
    `,
    { exitPort: 0xf4 },
  );
  assertThrows(
    () => expect(vm).toCall("ends", {}, [portOut(0xf4, 1)]),
    CallError,
    "did not return",
  );
});

Deno.test("exits() has those of one routine too, until it returns", () => {
  using vm = boot(driver);
  const seen: string[] = [];
  const call = { routine: "uart_putc", given: { al: 0x42 } };
  for (const { exit } of vm.exits({ call })) seen.push(exit.reason);
  assertEquals(seen, ["IO", "IO"]);
  expect(vm).toHaveSerial("B");
  // An iteration that is left leaves the routine where it is, and the next call is one of its own.
  for (const _ of vm.exits({ call })) break;
  vm.call("uart_putc", { al: 0x43 });
  expect(vm).toHaveSerial("BC");
});

Deno.test("a call that waits for an MSR that is no exit says what makes it one", () => {
  using vm = boot(asm`
    hlt
  ask:
    mov ecx, 0xc0000082
    rdmsr
    ret
  `);
  const { message } = failureOf(() => expect(vm).toCall("ask", {}, [rdmsr("LSTAR").returns(1)]));
  assertStringIncludes(message, 'until vm.msrs.intercept("LSTAR") makes it one.');
  assertStringIncludes(message, "transcript, from exit 1 on");
});
