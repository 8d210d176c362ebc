; A guest that never exits. Only the time limit ends it.

        bits 16

_start:
        sti                             ; emulated Intel hosts get no timer while interrupts are off
again:
        inc     ecx                     ; so that one can see that it ran, and that it runs on
        jmp     again
