; Long mode as a machine has it by default: page tables at 0x1000, GDT at 0x5000, stack below 0x10000, this code at
; 0x10000. It writes to the console, reads a device's register, and leaves what it read on its stack.

        bits 64

COM1    equ 0x3f8
DEVICE  equ 0x200000                    ; the first address behind 2 MiB of memory

_start:
        lea     rsi, [rel message]
        mov     dx, COM1
.next:  lodsb
        test    al, al
        jz      .done
        out     dx, al
        jmp     .next

.done:  movzx   eax, byte [DEVICE]
        push    rax
        mov     rbx, 0x1122334455667788
        push    rbx
        hlt

message: db "Hello, console!", 10, 0
