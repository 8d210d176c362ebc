import {
  checkGuestState,
  checkVmrunState,
  realMode,
  systemManagementEntry,
} from "@vmexit/vmexit/x86";
import { assertEquals, assertThrows } from "@std/assert";

Deno.test("SMM begins at SMBASE + 0x8000, with big segments of 16 bits", () => {
  const { handler, saveArea, registers, segments } = systemManagementEntry({ smbase: 0xa0000 });
  assertEquals([handler, saveArea, registers.rip], [0xa8000, 0xafe00, 0x8000n]);
  assertEquals([segments.cs.selector, segments.cs.base, segments.cs.db], [0xa000, 0xa0000n, 0]);
  for (const { limit, g } of Object.values(segments)) assertEquals([limit, g], [0xffff_ffff, 1]);
});

Deno.test("an SMBASE that the CPU does not take is refused", () => {
  for (const smbase of [-0x8000, 0x1234, 2 ** 32, 1.5, NaN]) {
    assertThrows(() => systemManagementEntry({ smbase }), RangeError, "Cannot set SMBASE as");
  }
});

Deno.test("SMM's state passes the checks of VM entry, on Intel's CPUs and on AMD's", () => {
  const { registers, segments, idt, cr4, efer } = systemManagementEntry();
  const { specialRegisters } = realMode();
  const state = {
    registers,
    specialRegisters: { ...specialRegisters, ...segments, idt, cr4, efer },
  };
  assertEquals([checkGuestState(state), checkVmrunState(state)], [[], []]);
});
