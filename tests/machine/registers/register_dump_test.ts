import { asm, boot } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

Deno.test("registers as a table of text", () => {
  using vm = boot(
    asm`
      bits 64
      mov rax, 0x1122334455667788
      mov r15, -1
      hlt
    `,
    { mode: "long" },
  );
  vm.run();
  const lines = vm.registers.dump().split("\n");
  const at = (start: string) => lines.find((line) => line.startsWith(start));
  assertEquals(lines[0], "rip       0000000000010012  rflags    0000000000000002");
  assertEquals(at("rax")!.slice(0, 26), "rax       1122334455667788");
  assertEquals(at("r12")!.slice(-26), "r15       ffffffffffffffff");
  assertEquals(
    lines.find((line) => line.trim().startsWith("selector")),
    "          selector  base              limit     type  p  dpl  db  s  l  g  avl",
  );
  const { selector, type } = vm.registers.cs;
  assertEquals(
    at("cs"),
    `cs        ${selector.toString(16).padStart(4, "0")}      0000000000000000  ffffffff  ` +
      `${type.toString(16)}     1  0    0   1  1  1  0`,
  );
  const { base, limit } = vm.registers.gdt;
  assertEquals(
    at("gdt"),
    `gdt                 ${base.toString(16).padStart(16, "0")}  ${
      limit.toString(16).padStart(4, "0")
    }`,
  );
  assertEquals(at("cr8")!.split(/\s+/).slice(2, 3), ["efer"]);
  assertEquals(lines.length, 20);
});
