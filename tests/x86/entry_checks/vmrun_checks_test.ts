import { assertEquals } from "@std/assert";
import type { SpecialRegisters } from "../../../lib/x86/boot/cpu_state.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { checkVmrunState, vmrunRules } from "../../../lib/x86/entry_checks/vmrun_checks.ts";

const breaches: [rule: string, by: (registers: SpecialRegisters) => void, detail: string][] = [
  ["CR0.NW needs CR0.CD", (it) => it.cr0 |= 1n << 29n, "CR0 is 0xa0010031"],
  ["CR0 has at most 32 bits", (it) => it.cr0 |= 1n << 32n, "CR0 is 0x180010031"],
  [
    "CR3 has no bit beyond the physical-address width",
    (it) => it.cr3 = 1n << 52n,
    "CR3 is 0x10000000000000",
  ],
  ["CR4 has no reserved bit", (it) => it.cr4 |= 1n << 15n, "CR4 is 0x8620"],
  ["EFER has no reserved bit", (it) => it.efer |= 2n, "EFER is 0xd02"],
  ["EFER.LME with CR0.PG needs CR4.PAE", (it) => it.cr4 &= ~0x20n, "CR4 is 0x600"],
  ["EFER.LME with CR0.PG needs CR0.PE", (it) => it.cr0 &= ~1n, "CR0 is 0x80010030"],
  [
    "CS is not both 64-bit (L) and 32-bit (D) in long mode",
    (it) => it.cs.db = 1,
    "CS: l and db are 1",
  ],
];

Deno.test.each(breaches)("%s", (rule, by, detail) => {
  const state = longMode();
  by(state.specialRegisters);
  assertEquals(checkVmrunState(state), [{ rule, section: "AMD APM Vol. 2, 15.5.1", detail }]);
});

Deno.test("every rule of VMRUN has a state that breaks it", () => {
  assertEquals(vmrunRules.map(({ rule }) => rule), breaches.map(([rule]) => rule));
});

Deno.test("AMD's CPUs have flags in EFER that Intel's refuse", () => {
  const state = longMode();
  state.specialRegisters.efer |= 1n << 14n;
  assertEquals(checkVmrunState(state), []);
});
