; A guest that never exits. Only the time limit ends it.

        bits 16

_start:
        jmp     _start
