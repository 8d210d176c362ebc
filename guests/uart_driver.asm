; A driver of a 16550A at COM1 as routines, in code of any width, and functions by the C convention of that width.

%include "include/width.inc"

DATA    equ 0x3f8
LINE_CONTROL equ 0x3fb
LINE_STATUS equ 0x3fd

DIVISOR_LATCH equ 0x80
EIGHT_BITS equ 0x03
DATA_READY equ 0x01
TRANSMITTER_EMPTY equ 0x20

; Argument %2 of a C function, from 0, to register %1: 64-bit code has the first ones in registers.
%macro argument 2
  %if __?BITS?__ = 64 && %2 = 0
        mov     %1, rdi
  %elif __?BITS?__ = 64 && %2 = 1
        mov     %1, rsi
  %elif __?BITS?__ = 64 && %2 >= 6
        mov     %1, [rsp+(%2-5)*WORD_SIZE]
  %elif __?BITS?__ = 16
        mov     bx, sp
        mov     %1, [ss:bx+(%2+1)*WORD_SIZE]
  %else
        mov     %1, [xsp+(%2+1)*WORD_SIZE]
  %endif
%endmacro

_start:
        hlt
.idle:  jmp     .idle

; Sets the divisor of its clock to CX.
uart_init:
        mov     dx, LINE_CONTROL
        mov     al, DIVISOR_LATCH
        out     dx, al
        mov     dx, DATA
        mov     al, cl
        out     dx, al
        inc     dx
        mov     al, ch
        out     dx, al
        mov     dx, LINE_CONTROL
        mov     al, EIGHT_BITS
        out     dx, al
        ret

; Sends AL. Changes AX and DX.
uart_putc:
        mov     ah, al
        mov     dx, LINE_STATUS
.wait:  in      al, dx
        test    al, TRANSMITTER_EMPTY
        jz      .wait
        mov     al, ah
        mov     dx, DATA
        out     dx, al
        ret

; Receives AL.
uart_getc:
        mov     dx, LINE_STATUS
.wait:  in      al, dx
        test    al, DATA_READY
        jz      .wait
        mov     dx, DATA
        in      al, dx
        ret

; uart_puts(const char *text): how many characters it sent.
uart_puts:
        argument xax, 0
        push    xsi
        push    xcx
        mov     xsi, xax
        xor     xcx, xcx
.next:  lodsb
        test    al, al
        jz      .done
        call    uart_putc
        inc     xcx
        jmp     .next
.done:  mov     xax, xcx
        pop     xcx
        pop     xsi
        ret

; difference(a, b): a - b.
difference:
        argument xcx, 1
        argument xax, 0
        sub     xax, xcx
        ret

; eighth(a, b, c, d, e, f, g, h): h.
eighth:
        argument xax, 7
        ret

; Leaves a word on the stack.
unbalanced:
        pop     xax
        push    xax
        push    xax
        ret

; Pops its argument, as no cdecl function does.
pops_argument:
        ret     WORD_SIZE

halts:
        cli
        hlt
        ret

greeting: db "Hello!", 0
