; From real mode to protected mode with a GDT, an IDT and a TSS in the image; SSE, then CPL 3, and back by a gate.
; Mutations of it must end in pages that name what was changed.
bits 16
org 0x7c00
    jmp 0:flat
flat:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    mov dx, 0x3f8
    mov al, '1'
    out dx, al
    lgdt [gdtr]
    lidt [idtr]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    jmp 0x08:entry32
bits 32
entry32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    mov eax, cr0
    and eax, ~4
    or eax, 2
    mov cr0, eax
    mov eax, cr4
    or eax, 0x600
    mov cr4, eax
    movaps xmm0, [vector]
    mov dx, 0x3f8
    mov al, '2'
    out dx, al
    mov ax, 0x28
    ltr ax
    mov eax, 100
    mov ecx, 7
    xor edx, edx
    div ecx
    push 0x23
    push 0x6000
    push 0x2
    push 0x1b
    push user
    iret
user:
    mov ax, 0x23
    mov ds, ax
    mov eax, [counter]
    inc eax
    mov [counter], eax
    call twice
    int 0x30
twice:
    add eax, eax
    ret
service:
    mov ax, 0x10
    mov ds, ax
    mov dx, 0x3f8
    mov al, 'O'
    out dx, al
    mov al, 'K'
    out dx, al
    mov al, 10
    out dx, al
    hlt
align 16
vector:
    dq 1, 2
counter:
    dd 0
align 8
gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
    dq 0x00cffa000000ffff
    dq 0x00cff2000000ffff
    dq 0x0000890080000067
gdtr:
    dw gdtr - gdt - 1
    dd gdt
idtr:
    dw 0x31 * 8 - 1
    dd idt
times 0x8000 - 0x7c00 - ($ - $$) db 0
tss:
    dd 0
    dd 0x6800
    dd 0x10
    times 0x68 - 12 db 0
align 8
idt:
times 0x30 dq 0
    dq 0x0000ee0000080000 + service
