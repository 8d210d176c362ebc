; From real mode to long mode with tables that stand in the image: page tables, GDT, TSS, IDT; int3, two pages that are
; touched, and int 0x80 from CPL 3. Mutations of it must end in pages that name what was changed.
bits 16
org 0x7c00
start:
    jmp 0:flat
flat:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov dx, 0x3f8
    mov al, '1'
    out dx, al
    mov eax, pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    lgdt [gdtr]
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    jmp 0x08:entry64
bits 64
entry64:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, 0x7000
    lidt [idtr]
    mov ax, 0x28
    ltr ax
    mov rax, [0x200000]
    mov [0x201000], rax
    int3
    mov dx, 0x3f8
    mov al, '2'
    out dx, al
    push 0x1b
    push 0x6000
    push 0x202
    push 0x23
    push user
    iretq
user:
    mov rcx, 5
again:
    push rcx
    pop rbx
    loop again
    int 0x80
breakpoint:
    push rax
    push rdx
    mov dx, 0x3f8
    mov al, 'b'
    out dx, al
    pop rdx
    pop rax
    iretq
syscall_entry:
    mov dx, 0x3f8
    mov al, 'O'
    out dx, al
    mov al, 'K'
    out dx, al
    mov al, 10
    out dx, al
    cli
    hlt
align 8
gdt:
    dq 0
    dq 0x00af9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00cff2000000ffff
    dq 0x00affa000000ffff
tss_descriptor:
    dq 0x0000890080000067
    dq 0
gdtr:
    dw gdtr - gdt - 1
    dd gdt
idtr:
    dw 129 * 16 - 1
    dq idt
times 0x8000 - 0x7c00 - ($ - $$) db 0
tss:
    dd 0
    dq 0x6800
    times 0x68 - 12 db 0
times 0x9000 - 0x7c00 - ($ - $$) db 0
pml4:
    dq 0x000000000000a007
times 0xa000 - 0x7c00 - ($ - $$) db 0
pdpt:
    dq 0x000000000000b007
times 0xb000 - 0x7c00 - ($ - $$) db 0
pd:
    dq 0x000000000000c007
    dq 0x0000000000200087
times 0xc000 - 0x7c00 - ($ - $$) db 0
pt:
%assign n 0
%rep 16
    dq n * 0x1000 + 7
%assign n n + 1
%endrep
times 0xd000 - 0x7c00 - ($ - $$) db 0
idt:
times 3 dq 0, 0
    dq 0x00008e0000080000 + breakpoint
    dq 0
times 124 dq 0, 0
    dq 0x0000ee0000080000 + syscall_entry
    dq 0
