; The same bytes in every mode. What they do depends on how the CPU decodes them:
;   AL = 16, 32 or 64, the width of code    BX = CR0's low word    CX = CS    DX = RFLAGS's low word

        bits    16

EXIT    equ 0xf4

_start:
        xor     ax, ax
        inc     ax                      ; 0x40: in 64-bit code a REX prefix for the nop
        nop
        test    al, al
        jz      .code64
        mov     ax, 0                   ; in 32-bit code the jump is the upper half of this constant
        jmp     short .code16
.code32:
        mov     al, 32
        jmp     short .report
.code16:
        mov     al, 16
        jmp     short .report
.code64:
        mov     al, 64
.report:
        mov     cx, cs                  ; its low bits are the privilege level, but in real and virtual-8086 mode
        smsw    bx
        pushf
        pop     dx
        out     EXIT, al
