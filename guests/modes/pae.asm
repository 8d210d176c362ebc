; PAE paging. Four entries of 8 bytes at CR3 cover 1 GiB each: the fourth is made to lead where the first does, so that
; 3 GiB + X is X. And a page that may not be executed: the fetch is a page fault that says so.

        bits    32

POINTERS equ 0x1000
THIRD_GIB equ 0xc0000000

_start:
        mov     dword [0x180000], 0x12345678
        mov     eax, [POINTERS]
        mov     edx, [POINTERS + 4]
        mov     [POINTERS + 3 * 8], eax
        mov     [POINTERS + 3 * 8 + 4], edx
        mov     eax, cr3
        mov     cr3, eax                ; the four entries are read now
        mov     ebx, [THIRD_GIB + 0x180000]
        mov     edx, data_page
        jmp     edx

page_fault:
        pop     ecx                     ; the error code: bit 4 is the fetch, bit 0 that the page is present
        mov     edx, cr2
        hlt

data_page equ 0x190000                  ; mapped without execution
