import type { CpuState, SpecialRegisters } from "../../../lib/x86/boot/cpu_state.ts";
import {
  type Cr0Flag,
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
} from "../../../lib/x86/registers/flag_tables.ts";
import { setFlag } from "../../../lib/x86/registers/flags.ts";
import {
  controlRegisterRules,
  pointerRules,
} from "../../../lib/x86/entry_checks/control_register_rules.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";
import { type Breach, testBreaches } from "./breach.ts";
import { assertEquals } from "@std/assert";
import {
  checkGuestState,
  type GuestState,
} from "../../../lib/x86/entry_checks/guest_state_checks.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { paeMode } from "../../../lib/x86/boot/modes/protected.ts";
import { memoryOf } from "../memory_of.ts";

const clear = (registers: SpecialRegisters, flag: Cr0Flag) => {
  registers.cr0 = setFlag(cr0Flags, flag, registers.cr0, false);
};
const set4 = (registers: SpecialRegisters, flag: Cr4Flag, value = true) => {
  registers.cr4 = setFlag(cr4Flags, flag, registers.cr4, value);
};

testBreaches(controlRegisterRules, [
  {
    rule: "CR0 has every bit that VMX fixes to 1 (an unrestricted guest may clear PE and PG)",
    by: (registers) => clear(registers, "ne"),
    detail: "CR0 is 0x80010011: NE clear",
  },
  {
    rule: "CR0 has every bit that VMX fixes to 1 (an unrestricted guest may clear PE and PG)",
    from: () => ({ ...realMode(), unrestrictedGuest: false }),
    by: () => {},
    detail: "CR0 is 0x30: PE, PG clear",
  },
  {
    rule: "CR0 has no bit that VMX fixes to 0",
    by: (registers) => registers.cr0 |= 1n << 32n,
    detail: "CR0 is 0x180010031: 0x100000000 set",
  },
  {
    rule: "CR0.PG needs CR0.PE",
    by: (registers) => clear(registers, "pe"),
    detail: "CR0.PG is 1, CR0.PE is 0",
  },
  {
    rule: "CR4 has every bit that VMX fixes to 1",
    by: (_registers, state) => state.cr4Fixed0 = 0x2000n,
    detail: "CR4 is 0x620: VMXE clear",
  },
  {
    rule: "CR4 has no bit that VMX fixes to 0",
    by: (registers) => registers.cr4 |= 1n << 40n,
    detail: "CR4 is 0x10000000620: 0x10000000000 set",
  },
  {
    rule: "CR4.CET needs CR0.WP",
    by: (registers) => {
      set4(registers, "cet");
      clear(registers, "wp");
    },
    detail: "CR4.CET is 1, CR0.WP is 0",
  },
  {
    rule: "IA-32e mode needs CR0.PG",
    by: (registers) => clear(registers, "pg"),
    detail: "EFER.LMA is 1, CR0.PG is 0",
  },
  {
    rule: "IA-32e mode needs CR4.PAE",
    by: (registers) => set4(registers, "pae", false),
    detail: "EFER.LMA is 1, CR4.PAE is 0",
  },
  {
    rule: "CR4.PCIDE needs IA-32e mode",
    from: realMode,
    by: (registers) => set4(registers, "pcide"),
    detail: "CR4.PCIDE is 1, EFER.LMA is 0",
  },
  {
    rule: "CR3 has no bit beyond the physical-address width",
    by: (registers, state) => {
      registers.cr3 = 1n << 36n;
      state.physicalAddressBits = 36;
    },
    detail: "CR3 is 0x1000000000, physical addresses have 36 bits",
  },
  {
    rule: "EFER has no reserved bit",
    by: (registers) => registers.efer |= 0x1002n,
    detail: "EFER is 0x1d02: SVME, 0x2 set",
  },
  {
    rule: "With CR0.PG, EFER.LME equals EFER.LMA",
    by: (registers) => registers.efer = 0x400n,
    detail: "EFER.LME is 0, EFER.LMA is 1",
  },
]);

const rule = pointerRules[0].rule;

function readable(state: CpuState): GuestState {
  return { ...state, read: memoryOf(state.writes) };
}

/** Sets an entry of the page-directory-pointer table to one that breaks the rule. */
function breach(index: number, entry: bigint, detail: string): Breach {
  return {
    rule,
    from: () => {
      const state = paeMode();
      new DataView(state.writes[0].bytes.buffer).setBigUint64(index * 8, entry, true);
      return readable(state);
    },
    by: () => {},
    detail,
  };
}

testBreaches(pointerRules, [
  breach(0, 0x2003n, "PDPTE0 is 0x2003"), // R/W, which other levels have
  breach(1, 0x2005n, "PDPTE1 is 0x2005"),
  breach(3, 0x8000_0000_0000_2001n, "PDPTE3 is 0x8000000000002001"),
  breach(2, 0x0010_0000_0000_2001n, "PDPTE2 is 0x10000000002001"),
]);

Deno.test("an entry that is not present may have any bit, and other paging modes have no such entries", () => {
  const state = paeMode();
  new DataView(state.writes[0].bytes.buffer).setBigUint64(0, 0x2006n, true);
  assertEquals(checkGuestState(readable(state)), []);
  assertEquals(checkGuestState(readable(longMode())), []);
  assertEquals(checkGuestState({ ...state, specialRegisters: state.specialRegisters }), []);
});

Deno.test("the physical-address width counts", () => {
  const state = paeMode();
  new DataView(state.writes[0].bytes.buffer).setBigUint64(0, 0x100_0000_0001n, true);
  assertEquals(checkGuestState(readable(state)), []);
  assertEquals(checkGuestState({ ...readable(state), physicalAddressBits: 40 }).length, 1);
});
