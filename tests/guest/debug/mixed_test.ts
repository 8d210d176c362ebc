import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { boot, Image } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { FREESTANDING, needs, run, TestFolder } from "./kernels.ts";

const START = `bits 64
global _start, stop
extern work
_start:
  mov edi, 3
  call work
  hlt

stop:
  mov eax, edi
  out 0xf4, al
  ret
`;

const WORK = `extern void stop(int code);
__attribute__((noinline)) void work(int depth) {
  stop(depth + 4);
  __asm__ volatile("");
}
`;

Deno.test(
  needs(
    ["nasm", "gcc", "gdb"],
    "assembly and C that ld has linked have their lines and callers, and breakpoints in both",
  ),
  () => {
    using folder = new TestFolder();
    const at = (name: string) => `${folder.path}/${name}`;
    Deno.writeTextFileSync(at("start.asm"), START);
    Deno.writeTextFileSync(at("work.c"), WORK);
    run("nasm", "-f", "elf64", "-g", "-F", "dwarf", "-o", at("start.o"), at("start.asm"));
    run("gcc", "-g", "-O0", ...FREESTANDING, "-o", at("kernel"), at("start.o"), at("work.c"));
    using vm = boot(Image.elf(at("kernel")), { mode: "long", memory: "4M" });
    using call = vm.debug.breakAt("start.asm:6");
    using work = vm.debug.breakAt("work.c:3");
    vm.run();
    assertEquals(vm.image.lineOf(vm.registers.rip)?.line, 6);
    vm.run();
    assertEquals([call.hits, work.hits, vm.registers.edi], [1, 1, 3]);
    assertThrows(() => vm.run(), Error, "IO out 0xf4 byte 0x7");
    const page = statePage(vm);
    const rows = [
      ...page.matchAll(/(\w+\.(?:asm|c)):(\d+) {2}(\w+)(?:\+0x[0-9a-f]+)?( \(.*\))?$/gm),
    ];
    assertEquals(
      rows.map(([, file, line, name, values = ""]) => `${file}:${line} ${name}${values}`),
      [
        "start.asm:11 stop",
        "work.c:3 work (depth=3)",
        "start.asm:6 _start",
      ],
    );
    assertMatch(page, /→ 11 │ +out 0xf4, al/);
  },
);
