; 64-bit mode: registers and addresses that no other mode has.

        bits    64

FAR_ADDRESS equ 0xffffffff80000000

_start:
        mov     r8, FAR_ADDRESS
        mov     r9, 0x1122334455667788
        mov     [r8 + 8], r9
        lea     r10, [rel _start]
        mov     ecx, 0xc0000080         ; EFER
        rdmsr
        hlt
