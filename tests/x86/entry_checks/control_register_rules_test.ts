import type { SpecialRegisters } from "../../../lib/x86/boot/cpu_state.ts";
import {
  type Cr0Flag,
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
} from "../../../lib/x86/registers/flag_tables.ts";
import { setFlag } from "../../../lib/x86/registers/flags.ts";
import { controlRegisterRules } from "../../../lib/x86/entry_checks/control_register_rules.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";
import { testBreaches } from "./breach.ts";

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
