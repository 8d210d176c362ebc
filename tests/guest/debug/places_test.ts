import { assert, assertEquals, assertThrows } from "@std/assert";
import { asm, boot, Image, type Machine } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import {
  build,
  FREESTANDING,
  KERNELS,
  type KernelSource,
  needs,
  run,
  TestFolder,
} from "./kernels.ts";

const [C, CPP, RUST, ZIG] = KERNELS;
const OPTIONS = { mode: "long", memory: "4M", catchFaults: true } as const;

/** The number of the line of a kernel that has a text. */
function lineWith({ file }: KernelSource, text: string): number {
  const source = Deno.readTextFileSync(`${import.meta.dirname}/kernels/${file}`);
  const index = source.split("\n").findIndex((line) => line.includes(text));
  assert(index >= 0, `no line of ${file} has ${text}`);
  return index + 1;
}

/** The lines at which a guest stops for a look, until it ends. */
function stops(vm: Machine): string[] {
  const found: string[] = [];
  for (;;) {
    try {
      if (vm.run().reason !== "DEBUG") return found;
    } catch {
      return found;
    }
    const line = vm.image.lineOf(vm.registers.rip);
    found.push(`${line?.file.split("/").at(-1)}:${line?.line}`);
  }
}

Deno.test(needs(C.compiler, "a guest stops at a line and at a function of C"), () => {
  using folder = new TestFolder();
  const image = Image.elf(build(C, folder));
  const line = `kernel.c:${lineWith(C, "outb")}`;
  {
    using vm = boot(image, OPTIONS);
    using sent = vm.debug.breakAt(line);
    assertEquals(sent.address, image.addressOf(line));
    assertEquals(stops(vm), Array(6).fill(line));
    assertEquals(sent.hits, 6);
  }
  {
    using vm = boot(image, OPTIONS);
    using drain = vm.debug.breakAt("drain");
    assertEquals([drain.address, stops(vm).length], [image.symbol("drain"), 3]);
  }
});

Deno.test(
  needs(C.compiler, "a guest stops at a line in each function into which it was inlined"),
  () => {
    using folder = new TestFolder();
    const source = `${folder.path}/twice.c`;
    Deno.writeTextFileSync(
      source,
      `static inline __attribute__((always_inline)) void tell(char text) {
  __asm__ volatile("outb %0, $0x80" : : "a"(text));
}
__attribute__((noinline)) void first(void) { tell('1'); }
__attribute__((noinline)) void second(void) { tell('2'); }
void _start(void) {
  first();
  second();
  for (;;) __asm__ volatile("hlt");
}
`,
    );
    run("gcc", "-g", "-O1", ...FREESTANDING, "-o", `${source}.elf`, source);
    using vm = boot(Image.elf(`${source}.elf`), {
      ...OPTIONS,
      ports: { 0x80: { write: () => {} } },
    });
    using tell = vm.debug.breakAt("twice.c:2");
    assertEquals(stops(vm), ["twice.c:2", "twice.c:2"]);
    assertEquals(tell.hits, 2);
  },
);

Deno.test(needs(CPP.compiler, "a guest stops at a function by its name in C++"), () => {
  using folder = new TestFolder();
  const image = Image.elf(build(CPP, folder));
  using vm = boot(image, OPTIONS);
  using read = vm.debug.breakAt("drivers::Floppy::read");
  assertEquals(read.address, image.addressOf("drivers::Floppy::read(unsigned int) const"));
  stops(vm);
  assertEquals(read.hits, 4);
});

Deno.test(
  needs(RUST.compiler, "a guest stops at a function by its name in Rust, and at a line"),
  () => {
    using folder = new TestFolder();
    using vm = boot(Image.elf(build(RUST, folder)), OPTIONS);
    using take = vm.debug.breakAt("kernel::Queue::take");
    using slots = vm.debug.breakAt(`kernel.rs:${lineWith(RUST, "self.slots[index]")}`);
    stops(vm);
    assertEquals([take.hits, slots.hits], [5, 5]);
  },
);

Deno.test(
  needs(ZIG.compiler, "a guest stops at a function by its name in Zig, and at a line"),
  () => {
    using folder = new TestFolder();
    using vm = boot(Image.elf(build(ZIG, folder)), OPTIONS);
    using take = vm.debug.breakAt("kernel.Queue.take");
    using slots = vm.debug.breakAt(`kernel.zig:${lineWith(ZIG, "if (index >=")}`);
    stops(vm);
    assertEquals([take.hits, slots.hits], [5, 5]);
  },
);

Deno.test(needs(C.compiler, "a place that is not there is refused with what is near"), () => {
  using folder = new TestFolder();
  using vm = boot(Image.elf(build(C, folder)), OPTIONS);
  const empty = lineWith(C, "static unsigned sent");
  const refused: [place: string, message: string][] = [
    [
      `kernel.c:${empty}`,
      `Cannot find kernel.c:${empty}: no code comes from that line; the nearest`,
    ],
    ["kernal.c:3", "no code comes from a file of that name; near it are kernel.c"],
    ["drian", "Cannot find the symbol drian: the image has none of that name; near it are drain"],
  ];
  for (const [place, message] of refused) {
    assertThrows(() => vm.debug.breakAt(place), RangeError, message);
    assertEquals(vm.image.addressOf(place), undefined);
  }
});

Deno.test("a guest in assembly stops at its lines, too, and jumps are shown with their labels", () => {
  using vm = boot(
    asm`
    bits 64
  again:
    dec ecx
    jnz again
    call done
  done:
    hlt
  `,
    { registers: { ecx: 3 } },
  );
  const { line } = vm.image.lineOf(vm.image.symbol("again"))!;
  using again = vm.debug.breakAt(`places_test.ts:${line}`, { by: "step" });
  vm.run();
  assertEquals(statePage(vm).match(/(?:jnz|call).*<.*>/g), [
    "jnz 0x10000  <again>",
    "call 0x10009  <done>",
  ]);
  stops(vm);
  assertEquals(again.hits, 2); // it stood at the first already
});
