; As spinlock.asm, but another CPU can take the lock between the test and the set.
        bits 32

LOCKED  equ 0x20000
COUNTER equ 0x20004

next:   cmp dword [LOCKED], 0
        je  free
        pause
        jmp next
free:   mov dword [LOCKED], 1
        mov eax, [COUNTER]
        inc eax
        mov [COUNTER], eax
        mov dword [LOCKED], 0
        dec ecx
        jnz next
        hlt
