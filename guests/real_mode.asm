; Real mode, and every kind of exit that a guest of a few lines can cause: string output, string input, MMIO in both
; directions, HLT. It is for a machine of 4 KiB, where 0x2000 is an address without memory.

        bits 16

CONSOLE equ 0x1000                      ; a port
NOWHERE equ 0x2000                      ; a physical address

_start:
        cld
        mov     dx, CONSOLE
        mov     si, message
        mov     cx, message.end - message
        rep outsb                       ; one exit a byte

        mov     di, answer
        insb                            ; the host's byte goes straight to memory

        mov     al, [answer]
        mov     [NOWHERE], al           ; an MMIO write of that byte
        mov     al, [NOWHERE]           ; an MMIO read into AL
        hlt

message: db "Hello from Real Mode!", 10
.end:
answer:  db 0
