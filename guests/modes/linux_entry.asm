; The Linux convention: what a kernel finds in its registers and behind GDTR.

        bits    64

_start:
        sub     rsp, 16
        sgdt    [rsp]
        movzx   ecx, word [rsp]         ; the limit
        mov     rbx, [rsp + 2]          ; the base
        mov     r8, [rbx + 8]           ; the code descriptor
        mov     r9, [rbx + 16]          ; the data descriptor
        mov     r10, [rbx + 24]         ; the TSS descriptor
        mov     r11, cr3
        mov     ax, 16
        mov     ds, ax                  ; descriptors can be loaded
        hlt
