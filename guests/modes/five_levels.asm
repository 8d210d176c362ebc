; An address of 49 bits: with 5 levels of page tables it is mapped, with 4 it is not canonical and a #GP.
; Boot it with a gate to general_protection (13).

        bits    64

FAR_ADDRESS equ 1 << 48

_start:
        mov     rbx, FAR_ADDRESS
        mov     dword [rbx + 0x10], 0x12345678
        mov     rcx, cr4
        mov     al, 5
        hlt

general_protection:
        mov     al, 4
        hlt
