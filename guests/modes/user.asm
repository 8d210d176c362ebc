; Code at CPL 3, in protected and in long mode: CLI is refused, and int 0x80 is the way to CPL 0, where HLT works.
; Boot it with gates to general_protection (13) and system_call (0x80).

%include "../include/width.inc"

_start:
        mov     cx, cs                  ; its low bits: 3
        cli                             ; a #GP
        mov     al, 0x33
        int     0x80
        mov     al, 0x44                ; the system call came back
        int     0x80

; Error code, instruction pointer, CS, flags, stack pointer, SS: the stack was switched.
general_protection:
        mov     bx, cs                  ; its low bits: 0
        inc     dword [faults]
        inc     xword [xsp + WORD_SIZE] ; CLI has one byte
        add     xsp, WORD_SIZE
        xiret

system_call:
        mov     bp, sp                  ; below the top of the kernel's stack
        mov     dx, [xsp + WORD_SIZE]   ; the caller's CS
        hlt
        xiret

        align 4
faults: dd 0
