; A counter under a spinlock. Each CPU adds 1 as often as ECX says, then halts.
        bits 32

LOCKED  equ 0x20000
COUNTER equ 0x20004

        sti                             ; emulated Intel hosts get no timer while interrupts are off
next:   lock bts dword [LOCKED], 0      ; takes the lock and tells whether it was free, at once
        jnc owned
        pause
        jmp next
owned:  mov eax, [COUNTER]
        inc eax
        mov [COUNTER], eax
        mov dword [LOCKED], 0
        dec ecx
        jnz next
        hlt
