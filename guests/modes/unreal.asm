; Unreal mode reaches 4 GiB through DS with offsets of 32 bits; in real mode the first such access is a #GP. (It is to a
; device: emulated CPUs check no limits, but KVM, which carries out what reaches devices, does.)

        bits    16

HIGH_MEMORY equ 0x300000
DEVICE  equ 0xf0000000                  ; no memory there
GENERAL_PROTECTION equ 13

_start:
        mov     word [GENERAL_PROTECTION * 4], refused
        mov     word [GENERAL_PROTECTION * 4 + 2], cs
        mov     al, 0x78
        mov     [dword DEVICE], al
        mov     dword [dword HIGH_MEMORY], 0x12345678
        mov     eax, [dword HIGH_MEMORY]
        smsw    bx                      ; PE is clear all the same
        mov     cx, 0x7c0               ; and loading a segment is real mode's: base and no descriptor
        mov     es, cx
        mov     byte [es:0], 0x55       ; physical 0x7c00
        hlt

refused:
        mov     al, 'G'
        hlt
