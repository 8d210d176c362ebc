; CPU 0 interrupts CPU 1, which interrupts CPU 0, and so on; in between both wait in HLT. Each writes a letter to port 0x10
; for every interrupt. ECX: how many rounds.
        bits 32
%include "../interrupts/interrupts.inc"

VECTOR  equ 0x40
READY   equ 0x20000
TAKEN   equ 0x20010                     ; how many interrupts each CPU has had: a doubleword for each

ping:   enable_apic
        xor  esi, esi
        sti                             ; emulated Intel hosts get no timer while interrupts are off
wait_for_pong:
        pause
        cmp  byte [READY], 0
        je   wait_for_pong
next:   interrupt_cpu 1, VECTOR
        inc  esi
        call wait_for_interrupt
        mov  al, 'i'
        out  0x10, al
        dec  ecx
        jnz  next
        cli
        hlt

pong:   enable_apic
        xor  esi, esi
        mov  byte [READY], 1
answer: inc  esi
        call wait_for_interrupt
        mov  al, 'o'
        out  0x10, al
        interrupt_cpu 0, VECTOR
        dec  ecx
        jnz  answer
        cli
        hlt

; Waits until this CPU has had ESI interrupts. One that comes just before HLT wakes it: STI lets it in only behind HLT.
wait_for_interrupt:
        mov  ebx, [APIC_ID]
        shr  ebx, 24
look:   cli
        cmp  [TAKEN + 4 * ebx], esi
        jae  taken
        sti
        hlt
        jmp  look
taken:  sti
        ret

on_interrupt:
        push ebx
        mov  ebx, [APIC_ID]
        shr  ebx, 24
        inc  dword [TAKEN + 4 * ebx]
        mov  dword [APIC_EOI], 0
        pop  ebx
        iretd
