; 16-bit code, and DS is what its descriptor says: base 0. In real mode DS = 0x10 has base 0x100, and any selector can be
; loaded; here one that is no descriptor's is a #GP, whose handler finds an error code and 16-bit words on its stack.

        bits    16

DATA    equ 0x10
NO_DESCRIPTOR equ 0x80

_start:
        mov     ax, DATA
        mov     ds, ax
        mov     word [0x9000], 0x1234
        mov     bp, sp
        mov     ax, NO_DESCRIPTOR
.faulting:
        mov     fs, ax
        hlt

general_protection:
        sub     bp, sp                  ; the size of the frame: error code, IP, CS, FLAGS
        pop     cx                      ; the error code
        pop     dx                      ; IP
        push    .after                  ; return behind the instruction
        iret
.after: str     bx
        hlt
