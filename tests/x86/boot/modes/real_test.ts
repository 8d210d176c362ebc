import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { checkGuestState } from "../../../../lib/x86/entry_checks/guest_state_checks.ts";
import { type RealLayout, realMode } from "../../../../lib/x86/boot/modes/real.ts";
import { checkVmrunState } from "../../../../lib/x86/entry_checks/vmrun_checks.ts";

const word = fc.nat({ max: 0xffff });

Deno.test("real mode starts at 0:0x500 with the stack below 0x7c00 and nothing in memory", () => {
  const { mode, registers, specialRegisters, writes } = realMode();
  assertEquals(mode, "real");
  assertEquals(registers, { rip: 0x500n, rsp: 0x7c00n, rflags: 2n });
  assertEquals([specialRegisters.cs.selector, specialRegisters.cs.base], [0, 0n]);
  assertEquals([specialRegisters.cr0, specialRegisters.cr4, specialRegisters.efer], [
    0x30n,
    0n,
    0n,
  ]);
  assertEquals(specialRegisters.idt, { base: 0n, limit: 0x3ff });
  assertEquals(specialRegisters.apic_base, 0xfee0_0900n);
  assertEquals(writes, []);
});

Deno.test("the default stack of a small machine ends where its memory ends", () => {
  assertEquals(realMode({ memorySize: 0x1000 }).registers.rsp, 0x1000n);
  assertEquals(realMode({ memorySize: 0x1000, sp: 0x800 }).registers.rsp, 0x800n);
});

const starts: [layout: RealLayout, cs: number, ip: number][] = [
  [{ cs: 0x7c0, ip: 0x10 }, 0x7c0, 0x10],
  [{ cs: 0xffff }, 0xffff, 0],
  [{ ip: 0x7c00 }, 0, 0x7c00],
  [{ entry: 0xffff }, 0, 0xffff],
  [{ entry: 0x1_2345 }, 0x1000, 0x2345],
  [{ entry: 0xf_fff0 }, 0xf000, 0xfff0],
  [{ entry: 0x10_0000 }, 0xffff, 0x10],
  [{ entry: 0x10_ffef }, 0xffff, 0xffff],
];

Deno.test.each(starts)("%o starts at the right CS:IP", (layout, cs, ip) => {
  const { registers, specialRegisters } = realMode(layout);
  assertEquals(specialRegisters.cs.selector, cs);
  assertEquals(specialRegisters.cs.base, BigInt(cs * 16));
  assertEquals(registers.rip, BigInt(ip));
});

Deno.test("every address that real mode reaches can be the entry", () => {
  fc.assert(fc.property(fc.nat({ max: 0x10_ffef }), (entry) => {
    const { registers, specialRegisters } = realMode({ entry });
    assertEquals(specialRegisters.cs.base + registers.rip!, BigInt(entry));
    assertEquals(specialRegisters.cs.base, BigInt(specialRegisters.cs.selector) * 16n);
  }));
});

Deno.test("segments are loaded with their selectors, and every such state is sound", () => {
  const layouts = fc.record({
    cs: word,
    ip: word,
    ds: word,
    es: word,
    fs: word,
    gs: word,
    ss: word,
    sp: word,
  });
  fc.assert(fc.property(layouts, (layout) => {
    const state = realMode(layout);
    for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
      const { selector, base, limit } = state.specialRegisters[name];
      assertEquals([selector, base, limit], [layout[name], BigInt(layout[name]) * 16n, 0xffff]);
    }
    assertEquals(checkGuestState(state), []);
    assertEquals(checkVmrunState(state), []);
  }));
});

const refused: [layout: RealLayout, message: string][] = [
  [{ cs: 0x1_0000 }, "Cannot set cs as 0x10000: in real mode it has 16 bits"],
  [{ ds: -1 }, "Cannot set ds as -0x1"],
  [{ ss: 0.5 }, "Cannot set ss as 0.5"],
  [{ cs: 0, ip: 0x1_0000 }, "Cannot set ip as 0x10000"],
  [{ sp: 0x1_0000 }, "Cannot set sp as 0x10000"],
  [{ entry: 0x10_fff0 }, "the last address it reaches is 0x10ffef"],
  [{ entry: -1 }, "Cannot start real mode at -0x1"],
];

Deno.test.each(refused)("%o is refused", (layout, message) => {
  assertThrows(() => realMode(layout), RangeError, message);
});
