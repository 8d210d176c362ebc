; Virtual-8086 mode: segments as in real mode, protection as in protected mode. INT enters the monitor, 32-bit code
; at CPL 0, which finds VM set in the flags on its stack, does a HLT for the guest, and returns into the mode.
; Boot it with a gate to monitor (0x21). After the first HLT bx, cx and edx are as below.

        bits    16

_start:
        smsw    bx                      ; PE is set
        mov     ax, 0x900
        mov     ds, ax                  ; no descriptor: base 0x9000
        mov     word [0], 0x1234        ; physical 0x9000
        pushf
        pop     cx                      ; IOPL is 3
        int     0x21
        mov     word [2], 0x5678        ; DS was brought back: physical 0x9002
        int     0x21

        bits    32
monitor:
        mov     edx, [esp + 8]          ; EIP, CS, EFLAGS: VM is bit 17
        mov     ax, ds                  ; the CPU left zeros in DS to GS
        hlt
        iretd
