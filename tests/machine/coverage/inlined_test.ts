import { assert, assertEquals } from "@std/assert";
import { boot, Image } from "../../../mod.ts";

const SOURCE = `static int twice(int number) {
  return number * 2 + (number > 9);
}

static int both(int number) {
  if (number < 0)
    return twice(-number);
  return twice(number) + 1;
}

int from_test(int number) {
  return both(number);
}
`;

Deno.test("a call that a compiler has inlined is a line, and executed with what it calls", () => {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-inlined-" });
  try {
    const source = `${folder}/inlined.c`;
    const elf = `${folder}/inlined.elf`;
    Deno.writeTextFileSync(source, SOURCE);
    const flags = "-m32 -g -O2 -ffreestanding -fno-pic -no-pie -nostdlib -static -Wl,-N," +
      "-Ttext=0x10000,--build-id=none,-e,from_test";
    const { success, stderr } = new Deno.Command("cc", {
      args: [...flags.split(" "), "-o", elf, source],
    }).outputSync();
    assert(success, new TextDecoder().decode(stderr));
    using vm = boot(Image.open(elf), { coverage: true });
    const reached = () => {
      const all = vm.coverage.lines.filter(({ isReached }) => isReached)
        .flatMap(({ line, callers }) => [line, ...callers.map(({ line }) => line)]);
      return new Set(all);
    };
    assertEquals(vm.call("from_test", [4], { returns: "i32" }), 9n);
    assert(reached().isSupersetOf(new Set([2, 8, 12])), `${[...reached()]}`);
    assert(!reached().has(7));
    assertEquals(vm.call("from_test", [-4], { returns: "i32" }), 8n);
    assert(reached().has(7));
    assert(vm.coverage.lines.every(({ callers }) => callers.every(({ file }) => file === source)));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
