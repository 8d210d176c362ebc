import { boot, expect, Image } from "@vmexit/vmexit";

const VIRTUAL = 0xffff_ffff_8010_0000n;
const PHYSICAL = 0x10_0000n;
const HEADERS = 0x78;

/**
 * A kernel of the upper half that lies at 1 MiB. Yours comes from your linker: `Image.elf("../build/kernel.elf")`, with
 * the symbols and source lines that it has. This one is made by hand (ELF-64 Object File Format 1.5).
 */
function kernel(): Uint8Array {
  const code = [
    ...[0x48, 0x8d, 0x1d, 0xf9, 0xff, 0xff, 0xff], // lea rbx, [rel $]
    0xf4, // hlt
  ];
  const file = new Uint8Array(HEADERS + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bits, little-endian
  view.setUint16(16, 2, true); // an executable …
  view.setUint16(18, 62, true); // … for x86-64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, VIRTUAL + BigInt(HEADERS), true); // its entry
  view.setBigUint64(32, 64n, true); // where the program headers are,
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true); // of what size,
  view.setUint16(56, 1, true); // and how many
  view.setUint32(64, 1, true); // a segment to load,
  view.setUint32(68, 5, true); // readable and executable:
  view.setBigUint64(80, VIRTUAL, true);
  view.setBigUint64(88, PHYSICAL, true);
  view.setBigUint64(96, BigInt(file.length), true); // bytes of the file,
  view.setBigUint64(104, BigInt(file.length), true); // and of memory
  file.set(code, HEADERS);
  return file;
}

Deno.test("the kernel runs at the address that it was linked for", () => {
  using vm = boot(Image.fromElf(kernel()), {
    mode: "long",
    mappings: [{ linear: VIRTUAL, physical: Number(PHYSICAL), size: 0x1000 }],
    entry: VIRTUAL + BigInt(HEADERS),
  });

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHaveRegisters({ rbx: VIRTUAL + BigInt(HEADERS) });
});
