; 32-bit code that calls 64-bit code through a selector and comes back: long mode is on. In protected mode selector 8 is
; 32-bit code, and the bytes there do something else.

        bits    32

CODE    equ 0x08

_start:
        mov     ebx, 0
        inc     ebx                     ; 32-bit code: 1. (In 64-bit code inc has two bytes.)
        call    CODE:far_code
        hlt

far_code:
        db      0x31, 0xc0              ; xor eax, eax
        db      0x40, 0x90              ; 32-bit: inc eax, nop; 64-bit: a prefixed nop
        db      0x85, 0xc0              ; test eax, eax
        jnz     .code32
        bits    64
        mov     rdx, 0x1122334455667788
        shr     rdx, 32
        lea     r8, [rel far_code]
        o32 retf
        bits    32
.code32:
        mov     edx, 0x32
        retf
