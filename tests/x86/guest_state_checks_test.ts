import { assertEquals } from "@std/assert";
import type { SpecialRegisters } from "../../lib/x86/cpu_state.ts";
import { type Cr0Flag, cr0Flags, type Cr4Flag, cr4Flags } from "../../lib/x86/flag_tables.ts";
import { setFlag } from "../../lib/x86/flags.ts";
import {
  checkGuestState,
  type GuestState,
  guestStateRules,
} from "../../lib/x86/guest_state_checks.ts";
import { longMode } from "../../lib/x86/modes/long.ts";
import { realMode } from "../../lib/x86/modes/real.ts";

const VM = 0x2_0002n;

/** A sound state in virtual-8086 mode: real mode's, with protection on and the access rights that VM needs. */
function virtual8086(): GuestState {
  const { specialRegisters } = realMode();
  specialRegisters.cr0 |= 1n;
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    Object.assign(specialRegisters[name], { type: 3, dpl: 3 });
  }
  return { specialRegisters, registers: { rflags: VM } };
}

/** A sound 64-bit state at CPL 3. */
function user(): GuestState {
  const state = longMode();
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    state.specialRegisters[name].dpl = 3;
    state.specialRegisters[name].selector |= 3;
  }
  return state;
}

const sound: Record<string, () => GuestState> = {
  "real mode": realMode,
  "long mode": longMode,
  "virtual-8086 mode": virtual8086,
  "64-bit mode at CPL 3": user,
  "64-bit mode, halted at CPL 0": () => ({ ...longMode(), halted: true }),
  "64-bit mode at CPL 3, not unrestricted": () => ({ ...user(), unrestrictedGuest: false }),
};

Deno.test.each(Object.entries(sound))("%s breaks no rule", (_name, state) => {
  assertEquals(checkGuestState(state()), []);
});

interface Breach {
  /** The rule that is broken. */
  rule: string;
  /** The sound state to start from; long mode where there is none. */
  from?: () => GuestState;
  /** What breaks it. */
  by: (registers: SpecialRegisters, state: GuestState) => void;
  /** What the verdict says. */
  detail: string;
}

const clear = (registers: SpecialRegisters, flag: Cr0Flag) => {
  registers.cr0 = setFlag(cr0Flags, flag, registers.cr0, false);
};
const set4 = (registers: SpecialRegisters, flag: Cr4Flag, value = true) => {
  registers.cr4 = setFlag(cr4Flags, flag, registers.cr4, value);
};

const breaches: Breach[] = [
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
  {
    rule: "SS.RPL equals CS.RPL, unless the guest is unrestricted or virtual-8086",
    from: () => ({ ...user(), unrestrictedGuest: false }),
    by: ({ cs }) => cs.selector &= ~3,
    detail: "SS: RPL is 3, that of CS is 0",
  },
  {
    rule: "A virtual-8086 segment's base is 16 times its selector",
    from: virtual8086,
    by: ({ es }) => es.base = 0x10n,
    detail: "ES: base is 0x10, the selector 0x0",
  },
  {
    rule: "The base is canonical",
    by: ({ gs }) => gs.base = 1n << 47n,
    detail: "GS: base is 0x800000000000",
  },
  {
    rule: "The base has at most 32 bits",
    by: ({ ds }) => ds.base = 1n << 32n,
    detail: "DS: base is 0x100000000",
  },
  {
    rule: "A virtual-8086 segment's limit is 0xffff",
    from: virtual8086,
    by: ({ ds }) => ds.limit = 0xf_ffff,
    detail: "DS: limit is 0xfffff",
  },
  {
    rule: "A virtual-8086 segment's access rights are 0xf3",
    from: virtual8086,
    by: ({ cs }) => Object.assign(cs, { type: 0xb, db: 1 }),
    detail: "CS: type is 11, db is 1",
  },
  {
    rule: "CS is accessed code, or in an unrestricted guest data of type 3",
    by: ({ cs }) => cs.type = 0xa,
    detail: "CS: type is 10",
  },
  {
    rule: "CS is accessed code, or in an unrestricted guest data of type 3",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ cs }) => cs.type = 3,
    detail: "CS: type is 3",
  },
  {
    rule: "A usable SS is accessed read/write data",
    by: ({ ss }) => ss.type = 1,
    detail: "SS: type is 1",
  },
  {
    rule: "A usable data segment is accessed",
    by: ({ fs }) => fs.type = 2,
    detail: "FS: type is 2",
  },
  {
    rule: "A usable data segment with code in it is readable",
    by: ({ es }) => es.type = 9,
    detail: "ES: type is 9",
  },
  {
    rule: "CS and usable segments are code or data (S = 1)",
    by: ({ cs }) => cs.s = 0,
    detail: "CS: s is 0",
  },
  {
    rule: "A CS with data of type 3 has DPL 0",
    by: ({ cs }) => Object.assign(cs, { type: 3, dpl: 1 }),
    detail: "CS: dpl is 1",
  },
  {
    rule: "A non-conforming CS has the DPL of SS",
    by: ({ cs }) => cs.dpl = 3,
    detail: "CS: dpl is 3, that of SS is 0",
  },
  {
    rule: "A conforming CS has no higher DPL than SS",
    by: ({ cs }) => Object.assign(cs, { type: 15, dpl: 1 }),
    detail: "CS: dpl is 1, that of SS is 0",
  },
  {
    rule: "SS.DPL equals SS.RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ ss, cs }) => {
      ss.dpl = 1;
      cs.dpl = 1;
    },
    detail: "SS: dpl is 1, the RPL 0",
  },
  {
    rule: "SS.DPL is 0 in real mode and with data of type 3 in CS",
    from: realMode,
    by: ({ ss, cs }) => {
      ss.dpl = 2;
      cs.dpl = 2;
    },
    detail: "SS: dpl is 2",
  },
  {
    rule: "SS.DPL is 0 in real mode and with data of type 3 in CS",
    by: ({ ss, cs }) => {
      ss.dpl = 2;
      cs.type = 3;
    },
    detail: "SS: dpl is 2",
  },
  {
    rule: "A usable data segment's DPL is no lower than its RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ ds }) => ds.selector |= 3,
    detail: "DS: dpl is 0, the RPL 3",
  },
  {
    rule: "A usable data segment's DPL is no lower than its RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ es }) => Object.assign(es, { selector: 0x9, type: 11 }),
    detail: "ES: dpl is 0, the RPL 1",
  },
  {
    rule: "CS and usable segments are present",
    by: ({ gs }) => gs.present = 0,
    detail: "GS: present is 0",
  },
  {
    rule: "CS is not both 64-bit (L) and 32-bit (D/B) in IA-32e mode",
    by: ({ cs }) => cs.db = 1,
    detail: "CS: l and db are 1",
  },
  {
    rule: "The granularity (G) of CS and usable segments fits the limit",
    by: ({ ds }) => ds.limit = 0xf_fffe,
    detail: "DS: limit is 0xffffe, g is 1",
  },
  {
    rule: "The granularity (G) of CS and usable segments fits the limit",
    from: realMode,
    by: ({ cs }) => cs.limit = 0xffff_ffff,
    detail: "CS: limit is 0xffffffff, g is 0",
  },
  { rule: "TR is usable", by: ({ tr }) => tr.unusable = 1, detail: "TR: unusable is 1" },
  {
    rule: "TR is a busy TSS: of type 11, or 3 outside IA-32e mode",
    by: ({ tr }) => tr.type = 3,
    detail: "TR: type is 3",
  },
  {
    rule: "TR is a busy TSS: of type 11, or 3 outside IA-32e mode",
    from: realMode,
    by: ({ tr }) => tr.type = 9,
    detail: "TR: type is 9",
  },
  {
    rule: "A usable LDTR is of type 2",
    by: ({ ldt }) => Object.assign(ldt, { unusable: 0, present: 1, type: 3 }),
    detail: "LDT: type is 3",
  },
  {
    rule: "TR, and LDTR where usable, selects a descriptor in the GDT (TI = 0)",
    by: ({ tr }) => tr.selector |= 4,
    detail: "TR: selector is 0x1c",
  },
  {
    rule: "TR, and LDTR where usable, has a canonical base",
    by: ({ ldt }) => Object.assign(ldt, { unusable: 0, present: 1, type: 2, base: 1n << 60n }),
    detail: "LDT: base is 0x1000000000000000",
  },
  {
    rule: "TR, and LDTR where usable, is a system segment (S = 0)",
    by: ({ tr }) => tr.s = 1,
    detail: "TR: s is 1",
  },
  {
    rule: "TR, and LDTR where usable, is present",
    by: ({ tr }) => tr.present = 0,
    detail: "TR: present is 0",
  },
  {
    rule: "TR, and LDTR where usable, has a granularity (G) that fits the limit",
    by: ({ tr }) => tr.g = 1,
    detail: "TR: limit is 0x67, g is 1",
  },
  {
    rule: "GDTR and IDTR have canonical bases",
    by: ({ idt }) => idt.base = 1n << 47n,
    detail: "IDTR: base is 0x800000000000",
  },
  {
    rule: "GDTR and IDTR have limits of 16 bits",
    by: ({ gdt }) => gdt.limit = 0x1_0000,
    detail: "GDTR: limit is 0x10000",
  },
  {
    rule: "RIP has at most 32 bits outside 64-bit mode",
    by: ({ cs }, state) => {
      cs.l = 0;
      state.registers = { rip: 1n << 32n };
    },
    detail: "RIP is 0x100000000",
  },
  {
    rule: "RIP is canonical in 64-bit mode",
    by: (_registers, state) => state.registers = { rip: 1n << 47n },
    detail: "RIP is 0x800000000000",
  },
  {
    rule: "RFLAGS has its reserved bits as they must be: bit 1 set, the others clear",
    by: (_registers, state) => state.registers = { rflags: 0n },
    detail: "RFLAGS is 0x0",
  },
  {
    rule: "RFLAGS has its reserved bits as they must be: bit 1 set, the others clear",
    by: (_registers, state) => state.registers = { rflags: 0x8002n },
    detail: "RFLAGS is 0x8002",
  },
  {
    rule: "RFLAGS.VM needs protected mode outside IA-32e mode",
    from: virtual8086,
    by: (registers) => clear(registers, "pe"),
    detail: "RFLAGS is 0x20002, CR0 0x30, EFER.LMA is 0",
  },
  {
    rule: "RFLAGS.IF is set where an external interrupt is injected",
    by: (_registers, state) => state.externalInterrupt = true,
    detail: "RFLAGS is 0x2",
  },
  {
    rule: "The activity state is HLT only at CPL 0",
    from: user,
    by: (_registers, state) => state.halted = true,
    detail: "the CPU is halted, SS.DPL is 3",
  },
];

Deno.test.each(breaches)("$rule: $detail", ({ rule, from = longMode, by, detail }) => {
  const state = from();
  by(state.specialRegisters, state);
  const found = checkGuestState(state);
  assertEquals(found.map((violation) => violation.rule), [rule]);
  assertEquals(found[0].detail, detail);
});

Deno.test("every rule has a state that breaks it", () => {
  const broken = new Set(breaches.map(({ rule }) => rule));
  assertEquals(guestStateRules.map(({ rule }) => rule).filter((rule) => !broken.has(rule)), []);
  assertEquals(new Set(guestStateRules.map(({ rule }) => rule)).size, guestStateRules.length);
});

Deno.test("every rule cites its section of the manual", () => {
  for (const { section } of guestStateRules) {
    assertEquals(/^Intel SDM Vol\. 3C, 26\.3\.1\.[1-5]$/.test(section), true, section);
  }
});

Deno.test("what a segment that is not usable holds does not matter, but for SS.DPL", () => {
  const { specialRegisters, ...state } = longMode();
  Object.assign(specialRegisters.ds, { unusable: 1, type: 0, s: 0, present: 0, base: 1n << 40n });
  Object.assign(specialRegisters.ss, { unusable: 1, type: 0, s: 0, present: 0, limit: 0xffe });
  assertEquals(checkGuestState({ ...state, specialRegisters }), []);
  specialRegisters.ss.dpl = 1;
  assertEquals(checkGuestState({ ...state, specialRegisters }).length, 1);
});

Deno.test("each register that breaks a rule is named", () => {
  const { specialRegisters } = longMode();
  for (const name of ["ds", "fs"] as const) specialRegisters[name].type = 2;
  assertEquals(checkGuestState({ specialRegisters }).map(({ detail }) => detail), [
    "DS: type is 2",
    "FS: type is 2",
  ]);
});

Deno.test("with 57 bits of linear address, more addresses are canonical", () => {
  const state = { ...longMode({ entry: 0 }), linearAddressBits: 57 };
  state.registers.rip = 1n << 50n;
  assertEquals(checkGuestState(state), []);
});
