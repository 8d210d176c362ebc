; 32-bit flat protected mode without paging: CS and DS loaded anew from the GDT, memory above 1 MiB, a device above 2 GiB.

        bits    32

CODE    equ 0x08
DATA    equ 0x10
HIGH_MEMORY equ 0x180000
DEVICE  equ 0xf0000000                  ; no memory there

_start:
        jmp     CODE:.loaded
.loaded:
        mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     dword [HIGH_MEMORY], 0x12345678
        mov     eax, [HIGH_MEMORY]
        mov     [DEVICE], eax
        mov     ebx, cr0                ; PE is set, PG is clear
        str     cx
        call    .push
.push:  pop     edx                     ; a return address of 32 bits, above 64 KiB
        hlt
