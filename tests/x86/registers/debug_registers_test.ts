import { debugRegisters, executionBreakpoints } from "@vmexit/vmexit/x86";
import { assertEquals, assertThrows } from "@std/assert";

Deno.test("DR7 has each breakpoint's enable bit, condition and length where the manual has them", () => {
  assertEquals(debugRegisters([])[7], 0x400n);
  assertEquals(
    debugRegisters([
      { address: 0x1000n, size: 1, on: "execute" },
      { address: 0x2002n, size: 2, on: "write" },
      { address: 0x3004n, size: 4, on: "access" },
      { address: 0xffff_ffff_8000_0008n, size: 8, on: "write" },
    ]),
    [0x1000n, 0x2002n, 0x3004n, 0xffff_ffff_8000_0008n, 0n, 0n, 0n, 0x9f50_0555n],
  );
});

Deno.test("breakpoints that the CPU does not have are refused", () => {
  const point = { address: 0n, size: 1, on: "execute" } as const;
  assertThrows(() => debugRegisters(new Array(5).fill(point)), RangeError, "the CPU has 4");
  assertThrows(() => debugRegisters([{ ...point, size: 2 }]), RangeError, "a breakpoint has 1");
  assertThrows(() => debugRegisters([{ ...point, on: "io" as "write" }]), RangeError, "for io");
  assertThrows(() => debugRegisters([{ ...point, address: 1n << 64n }]), RangeError, "no linear");
  assertThrows(
    () => debugRegisters([{ address: 4n, size: 8, on: "write" }]),
    RangeError,
    "8 bytes at 0x4: it is no linear address that is a multiple of 8",
  );
});

Deno.test("executionBreakpoints: those that are enabled, and wait for execution", () => {
  const registers = debugRegisters([
    { address: 0x1000n, size: 4, on: "write" },
    { address: 0x7c00n, size: 1, on: "execute" },
    { address: 0x2000n, size: 8, on: "access" },
  ]);
  assertEquals(executionBreakpoints(registers), [0x7c00n]);
  assertEquals(executionBreakpoints(new Array(8).fill(0n)), []);
});
