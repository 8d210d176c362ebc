import { asm, boot, expect, hlt, modes, portOut } from "@vmexit/vmexit";

// One body over several modes: what differs between 16, 32 and 64 bits has names in an include file.
Deno.test.each(modes(["real", "protected", "paged", "long"]))(
  "the stack returns what was pushed: $name",
  ({ options }) => {
    using vm = boot(
      asm`
        %include "../../guests/include/width.inc"
        mov xax, 0x41
        push xax
        pop xbx
        mov al, bl
        out 0x80, al
        hlt
      `,
      options,
    );
    expect(vm).toExit([portOut(0x80, "A"), hlt()]);
  },
);
