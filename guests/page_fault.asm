; Writes to a page that its page tables do not map. Boot it with `catchFaults: true`, and a hole at 2 MiB: the page fault is
; told with its address, its instruction and the entry of the page tables that is not present, instead of a triple fault.

        bits 64

_start:
        mov     bl, 0x55
        mov     eax, 0x200000
stray:  mov     [rax], bl
        hlt
