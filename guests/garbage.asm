; Bytes that are no instruction. In long mode, with no handler for #UD, executing them ends in SHUTDOWN.

        bits 64

_start:
        db      0xff, 0xff, 0xff, 0xff, 0x06, 0x0e, 0x16, 0x1e
