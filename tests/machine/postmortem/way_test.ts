import {
  asm,
  type AsmSource,
  boot,
  type BootOptions,
  expect,
  hlt,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

/** What the page of a transcript that is not kept says is odd about the guest's way; nothing where it says nothing. */
function odd(guest: AsmSource, serial: string, options?: BootOptions): string {
  using vm = boot(guest, { memory: "1M", ...options });
  const patterns = Array.from(serial, (character) => portOut(0x3f8, character));
  const { message } = assertThrows(() => expect(vm).toExit([...patterns, hlt()]), Error);
  const section = /^what is odd\n((?: {4}.*\n)+)/m.exec(message)?.[1] ?? "";
  return section.replaceAll(/\s+/g, " ").trim();
}

Deno.test(
  requires({ singleStep: true }, "an output that did not come: the number that nothing has read"),
  () => {
    const guest = asm`
      mov dx, 0x3f8
      mov al, '1'
      out dx, al
      mov bl, 5
      mov al, '2'
      push bx
      pop cx
      mov al, '3'
      out dx, al
      hlt
    `;
    assertMatch(
      odd(guest, "123"),
      /^`mov al,0x32` at 0x\w+, way_test\.ts:\d+ has no effect: nothing reads its number before `mov al,0x33` at 0x\w+, way_test\.ts:\d+$/,
    );
  },
);

Deno.test(requires({ singleStep: true }, "numbers that something reads are not told"), () => {
  const guest = asm`
      mov dx, 0x3f8
      mov ax, 0x0131
      mov al, ah            ; AH is read, and AL overwritten alone
      mov cx, 3
    again:
      loop again
      mov si, text
      lodsb
      mov di, 0x900
      stosb
      call put
      hlt
    put:
      out dx, al
      ret
    text: db '4'
    `;
  assertEquals(odd(guest, "5"), "");
});

Deno.test(
  requires({ singleStep: true }, "a handler into which the code before it ran on"),
  () => {
    const guest = asm`
      bits 32
      mov dx, 0x3f8
      int 0x20
      mov al, '3'
      out dx, al
      hlt
    first:
      mov al, '1'
      out dx, al
    second:
      mov al, '2'
      out dx, al
      iret
    `;
    assertMatch(
      odd(guest, "13", { gates: { 0x20: "first", 0x21: "second" } }),
      /second .*, the handler of vector 33, was entered without an interrupt: `out dx,al` at .* ran on into it/,
    );
  },
);
