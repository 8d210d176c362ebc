import { executionRules } from "../../../lib/x86/entry_checks/execution_rules.ts";
import { testBreaches, user, virtual8086 } from "./breach.ts";

testBreaches(executionRules, [
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
    by: (registers) => registers.cr0 &= ~1n,
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
]);
