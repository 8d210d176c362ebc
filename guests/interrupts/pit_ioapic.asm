; Long mode: three and more ticks of the PIT, through the IOAPIC. The machine maps the APICs' pages behind the first GiB.
        bits 64
        default abs
%define IOAPIC 0x40000000
%define APIC   0x40001000
%include "interrupts.inc"

VECTOR  equ 0x40
TICKS   equ 3

        mask_pics
        enable_apic
        redirect 0, VECTOR
        start_pit 0x4a9
        sti
wait_for_tick:
        hlt
        cmp byte [ticks], TICKS
        jb  wait_for_tick
        cli
        hlt

on_tick:
        inc byte [ticks]
        end_of_interrupt
        iretq

ticks:  db 0
