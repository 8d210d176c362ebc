; Real mode: three and more ticks of the PIT, through the PIC and the interrupt vector table.
%include "interrupts.inc"

VECTOR  equ 0x20
TICKS   equ 3

        mov word [VECTOR * 4], on_tick
        mov word [VECTOR * 4 + 2], 0

        mov al, PIC_INITIALIZE
        out PIC_MASTER, al
        out PIC_SLAVE, al
        mov al, VECTOR
        out PIC_MASTER + 1, al
        mov al, VECTOR + 8
        out PIC_SLAVE + 1, al
        mov al, 1 << 2          ; the slave is at line 2
        out PIC_MASTER + 1, al
        mov al, 2
        out PIC_SLAVE + 1, al
        mov al, PIC_8086
        out PIC_MASTER + 1, al
        out PIC_SLAVE + 1, al
        mov al, ~(1 << 0) & 0xff ; all lines masked but the timer's
        out PIC_MASTER + 1, al
        mov al, 0xff
        out PIC_SLAVE + 1, al

        start_pit 0x4a9         ; about a thousand a second
        sti
wait_for_tick:
        hlt
        cmp byte [ticks], TICKS
        jb  wait_for_tick
        cli
        hlt

on_tick:
        inc byte [ticks]
        push ax
        mov al, PIC_EOI
        out PIC_MASTER, al
        pop ax
        iret

ticks:  db 0
