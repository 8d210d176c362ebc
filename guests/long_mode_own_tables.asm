; Long mode in 32 KiB, behind page tables of its own, which take the first 16 KiB of physical memory:
;   linear 0x0000-0x3fff -> physical 0x4000-0x7fff, the first page (this code) read-only
;   linear 0x4000-0x4fff -> physical 0x8000, where there is no memory

        bits 64
        org 0

CONSOLE equ 0x1000                      ; a port
DATA    equ 0x2000                      ; physical 0x6000
ANSWER  equ 0x3000                      ; physical 0x7000
DEVICE  equ 0x4000                      ; physical 0x8000

_start:
        cld
        mov     dx, CONSOLE
        mov     esi, message
        mov     ecx, message.end - message
        rep outsb

        mov     edi, ANSWER
        insb

        mov     rax, 0x8877665544332211
        mov     [DATA], eax             ; four bytes, lowest first

        mov     [DEVICE], al            ; one MMIO write of each width
        mov     [DEVICE], ax
        mov     [DEVICE], eax
        mov     [DEVICE], rax
        hlt

message: db "Hello from Long Mode!", 10
.end:
