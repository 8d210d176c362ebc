; 32-bit paging. The guest gives itself a page-directory entry whose PS bit is set: with CR4.PSE it maps a page of 4 MiB,
; without it leads to a page table at physical 0.
;   linear 0x800000 + X -> physical X, or through the entry at 0 -> physical 0x101000 + X

        bits    32

DIRECTORY equ 0x1000
TABLE   equ 0x0000
WINDOW  equ 0x800000
PRESENT equ 0x1
WRITABLE equ 0x2
PAGE_SIZE equ 0x80

_start:
        mov     dword [0x800], 'LARG'
        mov     dword [0x101800], 'SMAL'
        mov     dword [TABLE], 0x101000 | PRESENT | WRITABLE
        mov     dword [DIRECTORY + (WINDOW >> 22) * 4], TABLE | PRESENT | WRITABLE | PAGE_SIZE
        mov     eax, cr3
        mov     cr3, eax                ; forget what was cached
        mov     eax, [WINDOW + 0x800]
        mov     ebx, cr4
        mov     ecx, cr0
        hlt
