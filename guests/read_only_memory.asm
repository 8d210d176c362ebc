; Writes to a page that is memory to read and MMIO to write: a ROM at 0x10000.

        bits 16

_start:
        mov     ax, 0x1000
        mov     es, ax
        mov     bl, [es:0]              ; reads what the ROM holds
        mov     byte [es:0], 0x55       ; an MMIO exit
        mov     cl, [es:0]              ; and it still holds it
        hlt
