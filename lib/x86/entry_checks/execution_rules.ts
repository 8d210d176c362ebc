import { isCanonical } from "../paging/canonical.ts";
import { RFLAGS_ALWAYS_SET, rflagsFlags } from "../registers/flag_tables.ts";
import { cr0Flags } from "../registers/flag_tables.ts";
import { flagMask, getFlag } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import type { GuestStateRule } from "./guest_state.ts";

const TABLE_LIMIT = 0xffff;
const manual = "Intel SDM Vol. 3C, ";

/** Checks on GDTR and IDTR (26.3.1.3), RIP and RFLAGS (26.3.1.4) and the activity state (26.3.1.5). */
export const executionRules: readonly GuestStateRule[] = [
  {
    rule: "GDTR and IDTR have canonical bases",
    section: `${manual}26.3.1.3`,
    broken: ({ specialRegisters, linearAddressBits }) =>
      (["gdt", "idt"] as const)
        .filter((name) => !isCanonical(specialRegisters[name].base, linearAddressBits))
        .map((name) => `${name.toUpperCase()}R: base is ${hex(specialRegisters[name].base)}`),
  },
  {
    rule: "GDTR and IDTR have limits of 16 bits",
    section: `${manual}26.3.1.3`,
    broken: ({ specialRegisters }) =>
      (["gdt", "idt"] as const)
        .filter((name) => specialRegisters[name].limit > TABLE_LIMIT)
        .map((name) => `${name.toUpperCase()}R: limit is ${hex(specialRegisters[name].limit)}`),
  },
  {
    rule: "RIP has at most 32 bits outside 64-bit mode",
    section: `${manual}26.3.1.4`,
    broken: ({ rip, ia32e, specialRegisters: { cs } }) =>
      !(ia32e && cs.l === 1) && rip >> 32n !== 0n ? [`RIP is ${hex(rip)}`] : [],
  },
  {
    rule: "RIP is canonical in 64-bit mode",
    section: `${manual}26.3.1.4`,
    broken: ({ rip, ia32e, linearAddressBits, specialRegisters: { cs } }) =>
      ia32e && cs.l === 1 && !isCanonical(rip, linearAddressBits) ? [`RIP is ${hex(rip)}`] : [],
  },
  {
    rule: "RFLAGS has its reserved bits as they must be: bit 1 set, the others clear",
    section: `${manual}26.3.1.4`,
    broken: ({ rflags }) =>
      (rflags & ~flagMask(rflagsFlags)) === RFLAGS_ALWAYS_SET ? [] : [`RFLAGS is ${hex(rflags)}`],
  },
  {
    rule: "RFLAGS.VM needs protected mode outside IA-32e mode",
    section: `${manual}26.3.1.4`,
    broken({ rflags, virtual8086, ia32e, specialRegisters: { cr0 } }) {
      const allowed = !ia32e && getFlag(cr0Flags, "pe", cr0) === true;
      return virtual8086 && !allowed
        ? [`RFLAGS is ${hex(rflags)}, CR0 ${hex(cr0)}, EFER.LMA is ${Number(ia32e)}`]
        : [];
    },
  },
  {
    rule: "RFLAGS.IF is set where an external interrupt is injected",
    section: `${manual}26.3.1.4`,
    broken: ({ rflags, externalInterrupt }) =>
      externalInterrupt && !getFlag(rflagsFlags, "if", rflags) ? [`RFLAGS is ${hex(rflags)}`] : [],
  },
  {
    rule: "The activity state is HLT only at CPL 0",
    section: `${manual}26.3.1.5`,
    broken: ({ halted, specialRegisters: { ss } }) =>
      halted && ss.dpl !== 0 ? [`the CPU is halted, SS.DPL is ${ss.dpl}`] : [],
  },
];
