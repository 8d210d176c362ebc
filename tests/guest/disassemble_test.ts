import { assertEquals, assertMatch } from "@std/assert";
import { asm } from "../../lib/guest/asm.ts";
import { disassemble, disassembleOn } from "../../lib/guest/disassemble.ts";
import { toolHost } from "../../lib/guest/tool.ts";

const textsOf = (bytes: number[], options: Parameters<typeof disassemble>[1]) =>
  disassemble(new Uint8Array(bytes), options).instructions.map(({ text }) => text);

Deno.test("the same bytes are other instructions in 16, 32 and 64 bits", () => {
  const bytes = [0x48, 0xc7, 0xc0, 0x01, 0x00, 0x00, 0x00];
  assertEquals(textsOf(bytes, { bits: 64 }), ["mov rax,0x1"]);
  assertEquals(textsOf(bytes, { bits: 32 }), ["dec eax", "mov eax,0x1"]);
  assertEquals(textsOf(bytes, {}), ["dec ax", "mov ax,0x1", "add [bx+si],al"]);
});

Deno.test("instructions have their addresses, bytes and jump targets", () => {
  const image = asm`
    start: mov ax, 0x1234
    jmp start
  `.assemble({ origin: 0x7c00 });
  const { instructions } = disassemble(image.bytes, { origin: image.origin });
  assertEquals(instructions, [
    {
      offset: 0,
      address: 0x7c00n,
      bytes: new Uint8Array([0xb8, 0x34, 0x12]),
      text: "mov ax,0x1234",
    },
    { offset: 3, address: 0x7c03n, bytes: new Uint8Array([0xeb, 0xfb]), text: "jmp short 0x7c00" },
  ]);
});

Deno.test("an instruction of many bytes is one instruction", () => {
  const image = asm`
    bits 64
    mov rax, 0x1122334455667788
    lock add qword [fs:eax*4+0x12345678], 0x12345678
    hlt
  `.assemble();
  const { instructions } = disassemble(image.bytes, { bits: 64 });
  assertEquals(instructions.map(({ offset, bytes }) => [offset, bytes.length]), [
    [0, 10],
    [10, 15],
    [25, 1],
  ]);
});

Deno.test("addresses in the upper half are exact", () => {
  const origin = 0xffff_ffff_8000_0000n;
  const code = new Uint8Array([0x90, 0xeb, 0xfd]);
  const { instructions } = disassemble(code, { bits: 64, origin });
  assertEquals(instructions[1].address, origin + 1n);
  assertEquals(instructions[1].text, "jmp short 0xffffffff80000000");
});

Deno.test("no more instructions come than are asked for", () => {
  assertEquals(textsOf(Array(100).fill(0x90), { count: 3 }), ["nop", "nop", "nop"]);
  assertEquals(textsOf([0x90], { count: 3 }), ["nop"]);
  assertEquals(textsOf([0x90], { count: 0 }), []);
  assertEquals(textsOf([], {}), []);
});

Deno.test("bytes that are no instruction are shown as data", () => {
  assertEquals(textsOf([0xff, 0xff], {}), ["db 0xff", "db 0xff"]);
});

Deno.test("a missing ndisasm is said, and nothing is thrown", () => {
  const run = () => {
    throw new Deno.errors.NotFound();
  };
  const result = disassembleOn({ ...toolHost, run }, new Uint8Array([0x90]));
  assertEquals(result.instructions, []);
  assertMatch(result.unavailable!, /apt-get install nasm/);
});

Deno.test("an ndisasm that fails is said, and nothing is thrown", () => {
  const run = (command: string) => ({ command, code: 1, stdout: "", stderr: "ndisasm: broken\n" });
  const result = disassembleOn({ ...toolHost, run }, new Uint8Array([0x90]));
  assertEquals(result.unavailable, "ndisasm failed: ndisasm: broken");
});

Deno.test({
  name: "a refused permission is said, and nothing is thrown",
  permissions: { ffi: true },
  fn() {
    const { instructions, unavailable } = disassemble(new Uint8Array([0x90]));
    assertEquals(instructions, []);
    assertMatch(unavailable!, /--allow-run=ndisasm/);
  },
});
