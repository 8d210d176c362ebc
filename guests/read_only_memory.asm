; A ROM at 0x10000: memory to read, no memory to write. The write is an MMIO exit, and the ROM keeps what it holds.

        bits 16

ROM     equ 0x1000                      ; its segment

_start:
        mov     ax, ROM
        mov     es, ax
        mov     bl, [es:0]              ; what the ROM holds
        mov     byte [es:0], 0x55       ; an MMIO exit
        mov     cl, [es:0]              ; and it holds it still
        hlt
