import {
  asm,
  AssertionError,
  boot,
  CallError,
  expect,
  hlt,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

const driver = asm.file("../../../guests/uart_driver.asm");
const DATA = 0x3f8;
const LINE_STATUS = 0x3fd;
/** The port of the stub that a routine returns to. */
const STUB_PORT = 0xbe;

for (const mode of ["real", "protected", "long"] as const) {
  Deno.test(`a call that was given up is none: its return is told, and is no HLT of the guest's: ${mode}`, () => {
    using vm = boot(driver, { mode, serial: false });
    assertThrows(() => vm.call("uart_getc"), UnhandledExitError, "in 0x3fd");
    using _status = vm.ports.on(LINE_STATUS, { read: () => 1 });
    using _data = vm.ports.on(DATA, { read: () => 0x5a });
    // Who handles the port of its return does not take it for the guest's.
    using _return = vm.ports.on(STUB_PORT, { write() {} });
    const told = "uart_getc has returned, and its call was given up before";
    for (const run of [() => vm.run(), () => expect(vm).toExit([hlt()])]) {
      const error = assertThrows(run, CallError, told);
      assertMatch(error.stack!.split("\n    at ")[1], /call_return_test\.ts/);
      assertThrows(() => expect(vm).toBeHalted(), AssertionError);
    }
    vm.registers.rip = "_start";
    assertEquals(vm.run().reason, "HLT");
    expect(vm).toBeHalted();
  });
}

Deno.test("an iteration of a call that is left early leaves the CPU in the routine, which is told when it returns", () => {
  using vm = boot(asm`
    hlt
  f:
    out 0x80, al
    ret
  `);
  for (const { exit } of vm.exits({ call: { routine: "f" } })) {
    assertEquals(exit.reason, "IO");
    break;
  }
  assertThrows(() => vm.run(), CallError, "f has returned, and its call was given up before");
  vm.registers.rip = vm.image.entry;
  assertEquals(vm.run().reason, "HLT");
});

const KEPT: [mode: "real" | "protected" | "long", registers: readonly string[]][] = [
  ["real", ["si", "di", "bp"]],
  ["protected", ["ebx", "esi", "edi", "ebp"]],
  ["long", ["rbx", "rbp", "r12", "r13", "r14", "r15"]],
];

for (const [mode, registers] of KEPT) {
  for (const register of registers) {
    Deno.test(`a function that does not keep ${register}, which is its caller's, is told: ${mode}`, () => {
      using vm = boot(
        asm`
          hlt
        tramples:
          mov ${register}, 0x1234
          ret
        keeps:
          push ${register}
          mov ${register}, 0x1234
          pop ${register}
          ret
        `,
        { mode },
      );
      assertThrows(
        () => vm.call("tramples", []),
        CallError,
        `tramples came back with ${register} 0x1234, expected 0x0: by the C convention it is the caller's`,
      );
      vm.registers.rip = vm.image.entry;
      vm.call("tramples", {});
      vm.call("keeps", []);
    });
  }
  Deno.test(`a function that comes back with DF set is told: ${mode}`, () => {
    using vm = boot(
      asm`
        hlt
      f:
        std
        ret
      `,
      { mode },
    );
    assertThrows(
      () => vm.call("f", []),
      CallError,
      "f came back with rflags.df true, expected false",
    );
    assertThrows(() => expect(vm).toCall("f", [], []), CallError, "rflags.df");
    vm.call("f", {});
  });
}
