; System-management mode: 16-bit code with segments of 4 GiB, CS at SMBASE. In real mode the store above 64 KiB is a #GP, in
; unreal mode CS is 0x3000 only by chance, and outside of SMM the last instruction is #UD.

        bits    16

FAR_AWAY equ 0x200000

_start:
        mov     al, 0x5a
        out     0x80, al
        smsw    dx                      ; PE is clear
        mov     cx, cs
        mov     esi, FAR_AWAY
        mov     [esi], dx
        mov     [esi + 2], cx
        mov     eax, [cs:constant]
        mov     [esi + 4], eax
        out     0x81, al
        rsm

constant: dd 0x12345678
