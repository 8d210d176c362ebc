import type { Machine } from "@vmexit/vmexit";
import type { GuestState, SegmentName, SpecialRegisters } from "@vmexit/vmexit/x86";

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];

/** The state as KVM gives it back, for the checks of VM entry. */
export function stateInKvm({ registers, memory }: Machine): GuestState {
  const special = {
    ...Object.fromEntries(SEGMENTS.map((name) => [name, { ...registers[name] }])),
    gdt: { ...registers.gdt },
    idt: { ...registers.idt },
    cr0: registers.cr0.value,
    cr2: registers.cr2,
    cr3: registers.cr3,
    cr4: registers.cr4.value,
    cr8: registers.cr8,
    efer: registers.efer.value,
    apic_base: registers.apic_base,
  };
  return {
    registers: { rip: registers.rip, rflags: registers.rflags.value },
    specialRegisters: special as SpecialRegisters,
    read: (gpa) => memory.u64(gpa),
  };
}
