; Bytes that are no instruction in 64-bit mode. The CPU raises #UD, nothing handles that, and it shuts down.

        bits 64

_start:
        db      0x06, 0x0e, 0x16, 0x1e, 0x27, 0x2f, 0x37, 0x3f
