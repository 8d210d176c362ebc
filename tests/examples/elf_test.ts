import { asm, boot, expect, Image } from "@vmexit/vmexit";

const KERNEL = 0xffff_ffff_8010_0000n;

// A kernel of the upper half that lies at 1 MiB. Yours comes from your linker: Image.elf("../build/kernel.elf"), with the
// symbols and source lines that it has. This one has its headers by hand (ELF-64 Object File Format, 1.5).
const file = asm`
  bits 64
  header:
    db 0x7f, "ELF", 2, 1, 1             ; 64 bits, little-endian, version 1
    times 16 - ($ - header) db 0
    dw 2, 62                            ; an executable for x86-64
    dd 1
    dq ${KERNEL} + start                ; its entry
    dq segments, 0                      ; where the program headers are
    dd 0
    dw 64, 56, 1, 64, 0, 0              ; of this size is the header, of that each of them, and so many are there
  segments:
    dd 1, 5                             ; to be loaded; readable and executable
    dq 0, ${KERNEL}, 0x100000           ; from the file's begin; linear and physical address
    dq end, end, 0x1000                 ; bytes in the file and in memory; alignment
  start:
    lea rbx, [rel start]
    hlt
  end:
`.assemble({ origin: 0, bits: 64 });

Deno.test("the kernel runs at the address that it was linked for", () => {
  const start = KERNEL + BigInt(file.symbol("start"));
  using vm = boot(Image.fromElf(file.bytes), {
    mode: "long",
    mappings: [{ linear: KERNEL, physical: 0x10_0000, size: 0x1000 }],
    entry: start,
  });

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHaveRegisters({ rbx: start });
});
