; An invalid opcode without an IDT to catch it, nor one to catch that: the CPU shuts down.

        bits 64

_start:
        ud2
