; The entry of the 64-bit kernel, in 32-bit protected mode, where the boot loader loaded it: the kernel itself is linked for the upper
; half of the address space. Memory is mapped twice, at 0 and at -2 GiB, by 2 MiB pages.
%include "header.inc"

PAGE_PRESENT_WRITABLE equ 0x3
PAGE_LARGE            equ 0x80
LARGE_PAGE            equ 0x200000
LARGE_PAGES           equ 8     ; 16 MiB
PDPT_UPPER            equ 510   ; the entry of -2 GiB
CR0_PG                equ 1 << 31
CR4_PAE               equ 1 << 5
EFER                  equ 0xc0000080
EFER_LME              equ 1 << 8
CODE                  equ 8

        section .boot.text progbits alloc exec nowrite align=16
        bits 32
        global _start
_start:
        mov edi, eax            ; the first two arguments of kernel_main
        mov esi, ebx

        mov dword [pml4], pdpt + PAGE_PRESENT_WRITABLE
        mov dword [pml4 + 511 * 8], pdpt + PAGE_PRESENT_WRITABLE
        mov dword [pdpt], pd + PAGE_PRESENT_WRITABLE
        mov dword [pdpt + PDPT_UPPER * 8], pd + PAGE_PRESENT_WRITABLE
        mov eax, PAGE_PRESENT_WRITABLE | PAGE_LARGE
        xor ecx, ecx
next:   mov [pd + ecx * 8], eax
        add eax, LARGE_PAGE
        inc ecx
        cmp ecx, LARGE_PAGES
        jb  next

        mov eax, pml4
        mov cr3, eax
        mov eax, cr4
        or  eax, CR4_PAE
        mov cr4, eax
        mov ecx, EFER
        rdmsr
        or  eax, EFER_LME
        wrmsr
        mov eax, cr0
        or  eax, CR0_PG
        mov cr0, eax
        lgdt [gdt_pointer]
        jmp CODE:in_long_mode

        bits 64
in_long_mode:
        mov rax, start_upper
        jmp rax

        align 8
gdt:    dq 0, 0x00209b0000000000 ; 64-bit code at CPL 0
gdt_pointer:
        dw gdt_pointer - gdt - 1
        dd gdt

        section .boot.bss nobits alloc write align=4096
pml4:   resb 4096
pdpt:   resb 4096
pd:     resb 4096

        section .text
        extern kernel_main
start_upper:
        mov rsp, stack_top
        xor ebp, ebp
        call kernel_main
        cli
        hlt

        section .bss nobits alloc write align=16
        resb 0x4000
stack_top:
