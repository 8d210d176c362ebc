; The entry of the 32-bit kernel. The boot loader has set EAX to its magic number and EBX to the address of its information.
%include "header.inc"

        section .text
        global _start
        extern kernel_main
_start:
        mov esp, stack_top
        push ebx
        push eax
        call kernel_main
        cli
        hlt

        section .bss nobits alloc write align=16
        resb 0x4000
stack_top:
