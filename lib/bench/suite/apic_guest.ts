import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { LongOptions } from "../../machine/boot/boot_options.ts";
import { LOCAL_APIC } from "../../x86/layout.ts";
import { msrNumber } from "../../x86/msrs/msr_number.ts";
import type { MeasuredGuest } from "./measured_guest.ts";

export const VECTOR: number = 0x50;

/** Where the guest has the local APIC's page: behind the identity map, for addresses of 32 bits. */
const APIC = 0x4000_0000;
const PAGE = 0x1000;

/** Registers of the local APIC, and what is written to them (Intel SDM Vol. 3A, 10.4 to 10.6). */
export const EOI: number = APIC + 0xb0;
export const SPURIOUS: number = APIC + 0xf0;
export const ICR_LOW: number = APIC + 0x300;
export const ICR_HIGH: number = APIC + 0x310;
export const LVT_TIMER: number = APIC + 0x320;
export const ENABLED: number = 0x1ff;
export const ASSERT: number = 0x4000;
export const TO_SELF: number = 0x4_0000;
export const TSC_DEADLINE: number = 0x4_0000;
export const DESTINATION_SHIFT: number = 24;

/** The same as MSRs of the x2APIC (Intel SDM Vol. 3A, 10.12). */
export const X2APIC = { EOI: 0x80b, SPURIOUS: 0x80f, SELF_IPI: 0x83f } as const;
const APIC_BASE = msrNumber("IA32_APIC_BASE");
const APIC_BASE_X2APIC = 0x400;

export const OPTIONS: LongOptions = {
  irqchip: true,
  gates: { [VECTOR]: "on_interrupt" },
  mappings: [{ linear: APIC, physical: LOCAL_APIC, size: PAGE }],
};

/** A guest whose interrupts are counted by their handler. */
export function xapicGuest(operation: AsmSource, more: Partial<MeasuredGuest> = {}): MeasuredGuest {
  return {
    setup: asm`
      mov dword [${SPURIOUS}], ${ENABLED}
      sti
    `,
    operation,
    routines: asm`
      on_interrupt:
        inc qword [taken]
        mov dword [${EOI}], 0
        iretq
    `,
    options: OPTIONS,
    ...more,
  };
}

/** The same by the registers of an x2APIC. */
export function x2apicGuest(operation: AsmSource): MeasuredGuest {
  return {
    setup: asm`
      mov ecx, ${APIC_BASE}
      rdmsr
      or eax, ${APIC_BASE_X2APIC}
      wrmsr
      mov ecx, ${X2APIC.SPURIOUS}
      mov eax, ${ENABLED}
      xor edx, edx
      wrmsr
      sti
    `,
    operation,
    routines: asm`
      on_interrupt:
        push rax
        push rcx
        push rdx
        inc qword [taken]
        mov ecx, ${X2APIC.EOI}
        xor eax, eax
        xor edx, edx
        wrmsr
        pop rdx
        pop rcx
        pop rax
        iretq
    `,
    options: OPTIONS,
  };
}
