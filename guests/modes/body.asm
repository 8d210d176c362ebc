; One body for every mode: a string to the serial line, a sum in memory, a call, and the end by a port.

%include "../include/width.inc"

COM1    equ 0x3f8
EXIT    equ 0xf4

_start:
        cld
        mov     xsi, greeting
        mov     dx, COM1
.next:  lodsb
        test    al, al
        jz      .done
        out     dx, al
        jmp     .next
.done:
        mov     xcx, 10
        call    sum_to
        mov     [sum], ax
        mov     al, 0
        out     EXIT, al

; AX = 1 + 2 + … + CX
sum_to:
        xor     xax, xax
        push    xcx
.add:   add     xax, xcx
        dec     xcx
        jnz     .add
        pop     xcx
        ret

greeting: db "Hello from any mode!", 10, 0
sum:    dw 0
