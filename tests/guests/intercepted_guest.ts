import { asm, type AsmSource } from "@vmexit/vmexit";
import { MSRS } from "@vmexit/vmexit/x86";

/** Where the hypervisors report, and what they answer (guests/svm_hypervisor.asm, guests/vmx_hypervisor.asm). */
export const REPORT = 0x1000;
export const ANSWER = 0x5a;
export const MSR_ANSWER = 0x55667788;

/** The ports of the guest's guest: the maps intercept the one, and let the other through to the machine. */
export const INTERCEPTED_PORT = 0x42;
export const PASSED_PORT = 0x80;
/** MSRs that every KVM has: the one intercepted, the other let through. */
export const INTERCEPTED_MSR = "LSTAR";
export const PASSED_MSR = "STAR";

/** The same instructions in every mode: two ports, two MSRs, of each one intercepted. */
export const interceptedGuest: AsmSource = asm`
    mov  al, 'p'
    out  ${PASSED_PORT}, al
    out  ${INTERCEPTED_PORT}, al
    in   al, ${INTERCEPTED_PORT}
    out  ${PASSED_PORT}, al
    mov  ecx, ${MSRS[PASSED_MSR]}
    mov  eax, 0x1234
    xor  edx, edx
    wrmsr
    rdmsr
    out  ${PASSED_PORT}, eax
    mov  ecx, ${MSRS[INTERCEPTED_MSR]}
    wrmsr
    rdmsr
    out  ${PASSED_PORT}, eax
    hlt
`;
