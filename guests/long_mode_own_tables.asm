; Long mode in 32 KiB, through page tables of its own in the first 16 KiB:
;   linear 0x0000-0x3fff -> physical 0x4000-0x7fff, the first page read-only
;   linear 0x4000-0x4fff -> physical 0x8000, where there is no memory

        bits 64
        org 0

PORT    equ 0x1000
DATA    equ 0x2000                      ; physical 0x6000
NOWHERE equ 0x4000                      ; physical 0x8000

_start:
        cld
        mov     dx, PORT
        mov     esi, message
        mov     ecx, message.end - message
        rep outsb

        mov     edi, DATA
        insb                            ; four bytes for linear 0x2000 ...
        mov     byte [DATA + 1], 0x22
        mov     word [DATA + 2], 0x4433

        mov     esi, DATA               ; ... and each of them to the page without memory
        mov     edi, NOWHERE
        mov     ecx, 4
.copy:  lodsb
        stosb
        loop    .copy
        hlt

message: db "Hello from Long Mode!", 10
.end:
