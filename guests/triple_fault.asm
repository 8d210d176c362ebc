; The shortest way to a triple fault: an exception, an IDT too short to handle it, nor what comes of that. The CPU shuts down.

        bits 64

_start:
        lidt    [rel empty]
        int3
        hlt                             ; never reached

empty:  dw 0                            ; limit
        dq 0                            ; base
