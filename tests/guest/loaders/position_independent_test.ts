import { boot, expect, hlt, Image, portOut } from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { linked } from "./linked.ts";

/** Reports the byte that a pointer leads to, which the linker leaves to a relocation, and where it runs itself. */
const source = (bits: 32 | 64) => `
  bits ${bits}
  section .text
  global _start
_start:
  call next
next:
  pop ${bits === 64 ? "rbx" : "ebx"}
  ${
  bits === 64
    ? "mov rsi, [rel pointer]\n  mov al, [rsi]"
    : "mov esi, [ebx + pointer - next]\n  mov al, [esi]"
}
  out 0x10, al
  mov eax, ebx
  out 0x10, eax
  hlt
  section .data
text: db "T"
  align 8
pointer: ${bits === 64 ? "dq" : "dd"} text
`;

const PIE = ["-pie", "--no-dynamic-linker", "-z", "notext"];

for (const bits of [32, 64] as const) {
  const file = linked(source(bits), { format: `elf${bits}`, args: PIE });

  Deno.test(`a position-independent executable of ${bits} bits is moved, with its pointers and symbols`, () => {
    for (
      const [options, base] of [[{}, 0x10_0000], [{ base: 0x4_0000 }, 0x4_0000]] as const
    ) {
      const image = Image.fromFile(file, options);
      assertEquals(image.kind, "elf");
      assertStringIncludes(image.description, `ELF executable, ${bits} bits`);
      assertEquals(image.symbol("_start"), image.entry);
      using vm = boot(image, { memory: "4M" });
      expect(vm).toExit([
        portOut(0x10, "T"),
        portOut(0x10, Number(image.symbol("next")), 4),
        hlt(),
      ]);
      assertEquals(image.symbol("next") > base, true);
      assertEquals(String.fromCharCode(vm.memory.u8("text")), "T");
    }
  });

  Deno.test(`a position-independent executable of ${bits} bits that needs a dynamic linker is refused`, () => {
    const open = (text: string, args: readonly string[]) => () =>
      Image.fromFile(linked(text, { format: `elf${bits}`, args }));
    assertThrows(
      open(source(bits), ["-pie", "-z", "notext", "-I", "/lib/ld.so"]),
      TypeError,
      "asks for a dynamic linker (PT_INTERP)",
    );
    const weak =
      source(bits).replace("section .data", "section .data\n  extern there:weak\n  dd 0") +
      `\n  extern there\n  ${bits === 64 ? "dq" : "dd"} there\n`;
    assertThrows(
      open(weak.replace("  extern there:weak\n  dd 0", ""), [
        ...PIE,
        "--unresolved-symbols=ignore-all",
        "-shared",
      ]),
      TypeError,
      "`r_info` of its relocation",
    );
  });
}

Deno.test("the base of a position-independent executable is whole pages", () => {
  const file = linked(source(64), { format: "elf64", args: PIE });
  assertThrows(() => Image.fromFile(file, { base: 0x10_0001 }), RangeError, "give whole pages");
  assertThrows(() => Image.fromFile(file, { base: -4096 }), RangeError, "the base of a position");
});
