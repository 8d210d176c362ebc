; Real mode: a segment's base is 16 times its selector, and its limit 64 KiB. A word at offset 0xffff is a #GP, which finds
; its handler in the vector table at 0. STR is no instruction here: #UD. (The word is one of a device, above 1 MiB: emulated CPUs
; check no limits, but KVM, which carries out what reaches devices, does.)

        bits    16

GENERAL_PROTECTION equ 13
INVALID_OPCODE equ 6

_start:
        mov     word [GENERAL_PROTECTION * 4], general_protection
        mov     word [GENERAL_PROTECTION * 4 + 2], cs
        mov     word [INVALID_OPCODE * 4], invalid_opcode
        mov     word [INVALID_OPCODE * 4 + 2], cs
        smsw    bx                      ; PE is clear
        mov     ax, 0x900
        mov     es, ax
        mov     word [es:0], 0x1234     ; physical 0x9000
        mov     ax, 0xffff
        mov     fs, ax
        mov     cl, [fs:0xffff]         ; the last byte within the limit: a device's
        mov     cx, [fs:0xffff]         ; half of this word is past it
        hlt

general_protection:
        mov     cx, 13
        str     dx
        hlt

invalid_opcode:
        mov     dx, 6
        hlt
