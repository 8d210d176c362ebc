; Starts the other CPUs as hardware wants it: INIT, then SIPI twice, to a trampoline in real mode at 0x8000, which brings
; each into protected mode with the GDT that CPU 0 has. Each writes its APIC id, from CPUID, into a byte of its own.
; EBX: how many others there are.
        bits 32
%include "../interrupts/interrupts.inc"

TRAMPOLINE equ 0x8000
STARTED    equ 0x20000                  ; how many have started
IDS        equ 0x20010                  ; a byte for each APIC id

        cli
        enable_apic
        mov  esi, trampoline
        mov  edi, TRAMPOLINE
        mov  ecx, trampoline_end - trampoline
        rep  movsb
        sgdt [TRAMPOLINE + gdtr - trampoline]
        mov  dword [APIC_ICR_LOW], APIC_TO_OTHERS | APIC_ASSERT | APIC_INIT
        mov  dword [APIC_ICR_LOW], APIC_TO_OTHERS | APIC_ASSERT | APIC_STARTUP | TRAMPOLINE >> 12
        mov  dword [APIC_ICR_LOW], APIC_TO_OTHERS | APIC_ASSERT | APIC_STARTUP | TRAMPOLINE >> 12
        sti                             ; emulated Intel hosts get no timer while interrupts are off
wait_for_others:
        pause
        cmp  [STARTED], ebx
        jb   wait_for_others
        cli
        hlt

started:
        mov  ax, 0x10
        mov  ds, ax
        mov  eax, 1
        cpuid
        shr  ebx, 24
        mov  [IDS + ebx], bl
        lock inc dword [STARTED]
        hlt

        bits 16
trampoline:
        cli
        mov  ax, cs
        mov  ds, ax
        o32 lgdt [gdtr - trampoline]
        mov  eax, cr0
        or   al, 1
        mov  cr0, eax
        jmp  dword 0x08:started
gdtr:   times 6 db 0
trampoline_end:
