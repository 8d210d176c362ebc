import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { asm, boot, Image } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { FREESTANDING, needs, run, TestFolder } from "./kernels.ts";

const KERNEL = `__attribute__((noinline)) static void stop(int code) {
  __asm__ volatile("outb %b0, $0xf4" : : "a"(code));
}
__attribute__((noinline)) static void work(int depth) {
  stop(depth + 4);
  __asm__ volatile("");
}
void _start(void) {
  work(3);
  for (;;) __asm__ volatile("hlt");
}
`;

/** A kernel in C of 32 bits, which is linked for 1 MiB. */
function kernelIn(folder: TestFolder): Image {
  const file = `${folder.path}/kernel.c`;
  Deno.writeTextFileSync(file, KERNEL);
  run("gcc", "-m32", "-g", "-O1", ...FREESTANDING, "-o", `${file}.elf`, file);
  return Image.elf(`${file}.elf`);
}

/** Reads a kernel from a disk, as it were, and calls it. */
const loader = ({ bytes, origin, entry }: Image) =>
  asm`
    bits 32
  _start:
    mov edi, ${Number(origin)}
    mov ecx, ${bytes.length}
    mov dx, 0x1f0
    rep insb
    call start_kernel
    hlt
  start_kernel:
    mov eax, ${Number(entry)}
    call eax
    hlt
`;

Deno.test(
  needs(
    ["gcc", "gdb"],
    "a page tells the kernel from the boot loader that has brought it into memory",
  ),
  () => {
    using folder = new TestFolder();
    const kernel = kernelIn(folder);
    const bytes = [...kernel.bytes];
    using vm = boot(loader(kernel), {
      mode: "protected",
      memory: "4M",
      images: { kernel },
      ports: { 0x1f0: { read: () => bytes.shift() ?? 0 } },
    });
    using there = vm.debug.breakAt("kernel:_start");
    using here = vm.debug.breakAt("_start");
    assertEquals([there.address, here.address], [kernel.symbol("_start"), 0x1_0000n]);
    assertEquals(vm.image.addressOf("kernel.c:5"), kernel.addressOf("kernel.c:5"));
    assertEquals([vm.run().reason, there.hits], ["DEBUG", 1]);
    assertThrows(() => vm.run(), Error, "IO out 0xf4 byte 0x7");
    const page = statePage(vm);
    const rows = [...page.matchAll(/(\w+\.[tc]s?):(\d+) {2}(.*)$/gm)].map(([, file, , name]) =>
      `${file} ${name.replace(/\+0x[0-9a-f]+/, "")}`
    );
    assertEquals(rows, [
      "kernel.c kernel:stop (code=7)",
      "kernel.c kernel:work (depth=3)",
      "kernel.c kernel:_start",
      "images_test.ts start_kernel",
      "images_test.ts _start",
    ]);
    assertMatch(page, /→ +2 │ +__asm__ volatile\("outb/);
  },
);

Deno.test("a boot sector that has copied itself is known where it is then", () => {
  const sector = asm`
      org 0x7c00
      mov si, 0x7c00
      mov di, 0x600
      mov cx, 256
      rep movsw
      jmp 0:moved - 0x7600
    moved:
      out 0xf4, al
      hlt
  `;
  const image = sector.assemble({ origin: 0x7c00, bits: 16 });
  using vm = boot(image, { images: { copy: image.movedBy(-0x7600) } });
  assertThrows(() => vm.run(), Error, "IO out 0xf4");
  assertMatch(statePage(vm), /images_test\.ts:\d+ {2}copy:moved\n/);
  assertMatch(statePage(vm), /→ \d+ │ +out 0xf4, al/);
});

Deno.test("an image knows its own names first, and those of others by theirs", () => {
  const image = (origin: number, symbols: Record<string, number>) =>
    Image.fromBytes(new Uint8Array(0x100), { origin, symbols });
  const whole = image(0x1000, { _start: 0x1000, main: 0x1010 }).with({
    kernel: image(0x2000, { _start: 0x2000, kmain: 0x2010 }),
    shell: image(0x2080, { _start: 0x2080, far: 0x2140 }),
  });
  assertEquals(
    ["_start", "kernel:_start", "shell:_start", "kmain"].map((name) => whole.symbol(name)),
    [0x1000n, 0x2000n, 0x2080n, 0x2010n],
  );
  assertEquals(
    [0x1011, 0x2012, 0x2090, 0x2140, 0x3000].map((address) => whole.symbolAt(address)),
    [
      { name: "main", offset: 1 },
      { name: "kmain", offset: 2, image: "kernel" },
      { name: "kmain", offset: 0x80, image: "kernel" }, // both have it: the first is taken
      { name: "far", offset: 0, image: "shell" },
      undefined,
    ],
  );
  assertEquals([whole.size, whole.segments.length], [0x100, 1]);
  assertThrows(() => whole.symbol("kernel:nosuch"), RangeError, "kernel:_start");
  assertThrows(
    () => whole.with({ kernel: "kernel.elf" as unknown as Image }),
    TypeError,
    "Cannot know the image kernel as string: give an Image",
  );
});

Deno.test("an image that is moved below address 0 is refused", () => {
  const image = Image.fromBytes(Uint8Array.of(0xf4), { origin: 0x1000 });
  assertEquals(image.movedBy(0x500).entry, 0x1500n);
  assertThrows(() => image.movedBy(-0x1001), RangeError, "Cannot use");
});
