; Writes to a page that its page tables map writable, then to one that they map read-only. The second is a page fault,
; and without an IDT a page fault is the end: it shuts down and never comes to its HLT.
; The machine is that of long_mode_own_tables.asm.

        bits 64
        org 0

WRITABLE  equ 0x1000                    ; physical 0x5000
READ_ONLY equ 0x0800                    ; physical 0x4800, in the page of this code

_start:
        mov     byte [WRITABLE], 0x55
        mov     byte [READ_ONLY], 0x55
        hlt
