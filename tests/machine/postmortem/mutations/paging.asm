; From real mode to 32-bit paging with page tables and an IDT that code builds; an interrupt, and a page fault whose handler
; maps the page. Mutations of it must end in pages that name what was changed.
bits 16
org 0x7c00
    jmp 0:flat
flat:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 0x08:entry32
bits 32
entry32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    mov edi, 0x8000
    xor eax, eax
    mov ecx, 2048
    rep stosd
    mov dword [0x8000], 0x9003
    mov edi, 0x9000
    mov eax, 3
map:
    stosd
    add eax, 0x1000
    cmp eax, 0x40003
    jb map
    mov edi, 0x5000
    mov eax, handler
    mov [edi + 14 * 8], ax
    mov word [edi + 14 * 8 + 2], 0x08
    mov word [edi + 14 * 8 + 4], 0x8e00
    mov eax, interrupt
    mov [edi + 0x21 * 8], ax
    mov word [edi + 0x21 * 8 + 2], 0x08
    mov word [edi + 0x21 * 8 + 4], 0x8e00
    lidt [idtr]
    mov eax, 0x8000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    int 0x21
    mov al, [0x80000]
    mov dx, 0x3f8
    mov al, 'O'
    out dx, al
    mov al, 'K'
    out dx, al
    mov al, 10
    out dx, al
    cli
    hlt
handler:
    push eax
    push edx
    mov eax, cr2
    and eax, 0xfffff000
    mov edx, eax
    shr edx, 10
    or eax, 3
    mov [0x9000 + edx], eax
    pop edx
    pop eax
    add esp, 4
    iret
interrupt:
    push edx
    push eax
    mov dx, 0x3f8
    mov al, 'i'
    out dx, al
    pop eax
    pop edx
    iret
align 8
gdt:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
gdtr:
    dw gdtr - gdt - 1
    dd gdt
idtr:
    dw 0x22 * 8 - 1
    dd 0x5000
