; Real mode, and every kind of exit that needs no device: string output, string input, MMIO in both directions, HLT.
; It fits a machine of 4 KiB, so that 0x2000 is an address without memory.

        bits 16

PORT    equ 0x1000
NOWHERE equ 0x2000

_start:
        cld
        mov     dx, PORT
        mov     si, message
        mov     cx, message.end - message
        rep outsb                       ; one exit a byte

        mov     di, answer
        insb                            ; the host's byte goes to memory

        mov     al, [answer]
        mov     [NOWHERE], al           ; an MMIO write of that byte
        mov     al, [NOWHERE]           ; an MMIO read
        hlt

message: db "Hello from Real Mode!", 10
.end:
answer:  db 0
