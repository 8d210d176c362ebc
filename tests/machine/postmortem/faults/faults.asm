; Faults that people who write systems ask about, each by its name (-DNAME): boot sectors for 0000:7c00. The line that is to
; blame, or the table entry, is marked.
%include "../../../../guests/reported/case.inc"

STACK equ 0x7c00
GDT_BASE equ 0x7c00
TABLES equ 0x60000              ; identity_tables: PML4, PDPT, PD
IDT64 equ 0x5000

%macro in_protected 0           ; 32-bit code with flat segments
    to_protected %%entry
bits 32
%%entry:
    flat_data
%endmacro

%macro in_long 0                ; 64-bit code with flat segments and an empty IDT
    identity_tables
    xor eax, eax
    mov es, ax
    mov di, IDT64
    mov cx, 0x1000 / 4
    rep stosd
    to_long %%entry
bits 64
%%entry:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, STACK
    load_idt64
%endmacro

    begin

%ifdef far_jump_to_data
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword DATA:next         ; FAULT
bits 32
next:
    done

%elifdef gdt_limit_short        ; a limit of its last entry, not of its last byte
    lgdt [short_gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:next       ; FAULT
bits 32
next:
    done
short_gdtr:
    dw 2
    dd gdt

%elifdef gdt_base_without_org   ; the base is an offset in the file
    lgdt [wrong_gdtr]           ; FAULT
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:next
bits 32
next:
    done
wrong_gdtr:
    dw 0x1f
    dd gdt - $$

%elifdef gdt_base_without_segment ; the base is an offset in the segment 0x7c0
    mov ax, 0x7c0
    mov ds, ax
    lgdt [wrong_gdtr - 0x7c00]  ; FAULT
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:next
bits 32
next:
    done
wrong_gdtr:
    dw 0x1f
    dd gdt - 0x7c00

%elifdef data_not_present
    lgdt [own_gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:next
bits 32
next:
    mov ax, DATA
    mov ds, ax
    done
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf12000000ffff       ; FAULT
own_gdtr:
    dw $ - own_gdt - 1
    dd own_gdt

%elifdef code_16_bits           ; D is clear: 32-bit code is executed as 16-bit code
    lgdt [own_gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:next
bits 32
next:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK
    push dword next
    mov eax, [esp]
    jmp eax
own_gdt:
    dq 0
    dq 0x008f9a000000ffff       ; FAULT
    dq 0x00cf92000000ffff
own_gdtr:
    dw $ - own_gdt - 1
    dd own_gdt

%elifdef bios_in_protected_mode
    in_protected
    mov ax, 0x0e41
    int 0x10                    ; FAULT
    done

%elifdef null_stack_segment
    in_protected
    xor eax, eax
    mov ss, ax                  ; FAULT
    done

%elifdef busy_tss               ; LTR a second time
    in_protected
    mov word [own_gdt + 0x28 + 2], tss
    lgdt [own_gdtr]
    mov ax, 0x28
    ltr ax
    ltr ax                      ; FAULT
    done
tss: times 104 db 0
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0, 0
    dq 0x0000890000000067
own_gdtr:
    dw $ - own_gdt - 1
    dd own_gdt

%elifdef gate_without_selector
    in_protected
    lidt [own_idtr]
    int3
    done
handler:
    iret
align 8
own_idt:
    times 3 dq 0
    dw handler - $$ + 0x7c00    ; FAULT
    dw 0, 0x8e00, 0
    times 12 dq 0
own_idtr:
    dw $ - own_idt - 1
    dd own_idt

%elifdef gate_of_wrong_type     ; an available TSS
    in_protected
    lidt [own_idtr]
    int3
    done
handler:
    iret
align 8
own_idt:
    times 3 dq 0
    dw handler - $$ + 0x7c00    ; FAULT
    dw CODE32, 0x8900, 0
    times 12 dq 0
own_idtr:
    dw $ - own_idt - 1
    dd own_idt

%elifdef error_code_not_popped
    in_protected
    lidt [own_idtr]
    mov ax, 0x40
    mov fs, ax                  ; #GP(0x40)
    done
handler:
    mov word [esp + 4], next
    iret                        ; FAULT
next:
    done
align 8
own_idt:
    times 13 dq 0
    dw handler - $$ + 0x7c00
    dw CODE32, 0x8e00, 0
own_idtr:
    dw $ - own_idt - 1
    dd own_idt

%elifdef near_return_from_handler
    in_protected
    lidt [own_idtr]
    mov ebx, 2
again:
    int3
    dec ebx
    jnz again
    ret                         ; takes what the handler left
handler:
    ret                         ; FAULT
align 8
own_idt:
    times 3 dq 0
    dw handler - $$ + 0x7c00
    dw CODE32, 0x8e00, 0
own_idtr:
    dw $ - own_idt - 1
    dd own_idt

%elifdef irq_not_remapped       ; the PICs are as the BIOS leaves them, and there is no IDT
    in_protected
    sti                         ; FAULT
    hlt
    done

%elifdef misaligned_movaps
    in_protected
    mov eax, cr4
    or ax, 3 << 9
    mov cr4, eax
    movaps xmm0, [numbers]      ; FAULT
    done
align 16
    db 0
numbers: times 16 db 1

%elifdef avx_not_enabled
    in_protected
    mov eax, cr4
    or ax, 3 << 9
    mov cr4, eax
    vxorps ymm0, ymm0, ymm0     ; FAULT
    done

%elifdef paging_without_table   ; the address of the directory itself is in its entry
    in_protected
    mov edi, 0x8000
    xor eax, eax
    mov ecx, 2 * 4096 / 4
    rep stosd
    mov edi, 0x9000
    mov eax, 3
    mov ecx, 1024
map:
    stosd
    add eax, 4096
    loop map
    mov dword [0x8000], 0x90003 ; FAULT
    mov eax, 0x8000
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    done

%elifdef large_page_without_pse
    in_protected
    mov edi, 0x8000
    xor eax, eax
    mov ecx, 4096 / 4
    rep stosd
    mov dword [0x8000], 0x83    ; FAULT
    mov eax, 0x8000
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    done

%elifdef write_protected        ; CR0.WP
    in_protected
    mov edi, 0x8000
    xor eax, eax
    mov ecx, 2 * 4096 / 4
    rep stosd
    mov edi, 0x9000
    mov eax, 3
    mov ecx, 1024
map:
    stosd
    add eax, 4096
    loop map
    mov dword [0x8000], 0x9003
    and byte [0x9000 + 0x20 * 4], ~2 ; FAULT
    mov eax, 0x8000
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31 | 1 << 16
    mov cr0, eax
    mov dword [0x20000], 1
    done

%elifdef pdpt_entry_not_present
    identity_tables
    and dword [es:0x1000], ~1   ; FAULT
    to_long next
bits 64
next:
    done

%elifdef pml4_entry_elsewhere
    identity_tables
    mov dword [es:0], 0x610003 ; FAULT
    to_long next
bits 64
next:
    done

%elifdef no_execute_without_nxe
    identity_tables
    mov dword [es:0x2004], 0x80000000 ; FAULT
    to_long next
bits 64
next:
    done

%elifdef code_with_l_and_d
    identity_tables
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr4
    or al, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or ah, 1
    wrmsr
    lgdt [own_gdtr]
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    jmp CODE64:next
bits 64
next:
    done
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00ef9a000000ffff       ; FAULT
own_gdtr:
    dw $ - own_gdt - 1
    dd own_gdt

%elifdef compatibility_code     ; the descriptor of 32-bit code
    identity_tables
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr4
    or al, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or ah, 1
    wrmsr
    lgdt [gdtr]
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    jmp CODE32:next             ; FAULT
bits 64
next:
    mov rax, 0x1122334455667788
    mov rsp, STACK
    push rax
    mov rcx, [rel gdt]
    done

%elifdef iret_of_32_bits        ; NASM's iret has 32 bits, too, where iretq is meant
    in_long
    gate64 3, breakpoint, 0
    int3
    done
breakpoint:
    iret                        ; FAULT

%elifdef idt_of_8_byte_gates
    in_long
    mov eax, breakpoint
    or eax, CODE64 << 16
    mov [IDT64 + 3 * 8], eax    ; FAULT
    mov dword [IDT64 + 3 * 8 + 4], 0x8e00
    int3
    done
breakpoint:
    iretq

%elifdef stack_not_mapped
    in_long
    gate64 14, fault, 0
    mov rsp, 0x80000000         ; FAULT
    push rax
    done
fault:
    iretq

%elifdef ist_of_nothing         ; the gate names a stack of the TSS that is 0
    in_long
    gate64 3, breakpoint, 0
    mov byte [IDT64 + 3 * 16 + 4], 1 ; FAULT
    mov word [own_gdt + 0x28 + 2], tss
    lgdt [own_gdtr]
    mov ax, 0x28
    ltr ax
    int3
    done
breakpoint:
    iretq
align 8
tss: times 104 db 0
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00af9a000000ffff
    dq 0
    dq 0x0000890000000067, 0
own_gdtr:
    dw $ - own_gdt - 1
    dq own_gdt

%elifdef no_stack_for_ring_0    ; RSP0 of the TSS is 0
    in_long
    gate64 0x80, call, 3
    mov word [own_gdt + 0x30 + 2], tss
    lgdt [own_gdtr]
    mov ax, 0x30
    ltr ax
    or byte [TABLES], 4
    or byte [TABLES + 0x1000], 4
    or byte [TABLES + 0x2000], 4
    mov rax, cr3
    mov cr3, rax
    push 0x23
    push STACK
    push 2
    push 0x2b
    push user
    iretq
user:
    int 0x80                    ; FAULT
    jmp $
call:
    iretq
align 8
tss: times 104 db 0
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00af9a000000ffff
    dq 0x00cff2000000ffff
    dq 0x00affa000000ffff
    dq 0x0000890000000067, 0
own_gdtr:
    dw $ - own_gdt - 1
    dq own_gdt

%elifdef gate_of_ring_0         ; int 0x80 from ring 3, the gate of DPL 0
    in_long
    gate64 0x80, call, 0
    mov word [own_gdt + 0x30 + 2], tss
    lgdt [own_gdtr]
    mov ax, 0x30
    ltr ax
    or byte [TABLES], 4
    or byte [TABLES + 0x1000], 4
    or byte [TABLES + 0x2000], 4
    mov rax, cr3
    mov cr3, rax
    push 0x23
    push STACK
    push 2
    push 0x2b
    push user
    iretq
user:
    int 0x80                    ; FAULT
    jmp $
call:
    iretq
align 8
tss:
    dd 0
    dq STACK - 0x100
    times 92 db 0
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00af9a000000ffff
    dq 0x00cff2000000ffff
    dq 0x00affa000000ffff
    dq 0x0000890000000067, 0
own_gdtr:
    dw $ - own_gdt - 1
    dq own_gdt

%elifdef page_of_the_supervisor ; ring 3 in pages without U/S
    in_long
    lgdt [own_gdtr]
    push 0x23
    push STACK
    push 2
    push 0x2b
    push user
    iretq
user:
    jmp $                       ; FAULT
align 8
own_gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00af9a000000ffff
    dq 0x00cff2000000ffff
    dq 0x00affa000000ffff
own_gdtr:
    dw $ - own_gdt - 1
    dq own_gdt

%elifdef sysret_not_canonical
    in_long
    mov ecx, 0xc0000080
    rdmsr
    or al, 1
    wrmsr
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x00130008
    wrmsr
    mov rcx, 0x800000000000
    mov r11, 2
    o64 sysret                  ; FAULT
    done

%elifdef syscall_not_enabled
    in_long
    syscall                     ; FAULT
    done

%elifdef swapgs_twice           ; GS is the user's again: base 0x4000_0000, which is not mapped
    in_long
    mov ecx, 0xc0000101
    mov eax, 0x40000000
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000102
    mov eax, 0x9000
    wrmsr
    swapgs
    mov rax, [gs:0]
    swapgs                      ; FAULT
    mov rax, [gs:0]
    done

%elifdef unknown_msr
    in_long
    mov ecx, 0x12345678
    wrmsr                       ; FAULT
    done

%elifdef cr4_reserved_bit
    in_long
    mov rax, cr4
    bts rax, 31
    mov cr4, rax                ; FAULT
    done

%elifdef divide_without_handler
    in_protected
    xor ecx, ecx
    mov eax, 5
    cdq
    div ecx                     ; FAULT
    done
%endif

    standard_gdt
    idt64_pointer
