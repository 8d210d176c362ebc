import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, type Machine } from "@vmexit/vmexit";
import { failureOf, linesFrom } from "../messages.ts";

/** A guest that has written "AB" to port 0x80 by one `out` of a word. */
function wordWritten(): Machine {
  const vm = boot(asm`
    mov ax, "AB"
    out 0x80, ax
    hlt
  `);
  vm.ports.on(0x80, { write() {} });
  vm.run();
  return vm;
}

Deno.test("output of another width is another output", () => {
  using vm = wordWritten();
  assertEquals(linesFrom(() => expect(vm).toHavePortOutput(0x80, "AB"), "  output", 2), [
    '  output of port 0x80  expected "AB"',
    '                       received "AB", in accesses of 2 bytes',
  ]);
  expect(vm).toHavePortOutput(0x80, "AB", 2);
  expect(vm).not.toHavePortOutput(0x80, "AC", 2);
  const { message } = failureOf(() => expect(vm).toHavePortOutput(0x80, "AB", 4));
  assertStringIncludes(message, 'expect(vm).toHavePortOutput(0x80, "AB", 4)');
});

Deno.test("that the guest has written it by another width is no reason for .not to hold", () => {
  using vm = wordWritten();
  assertThrows(
    () => expect(vm).not.toHavePortOutput(0x80, "AB"),
    TypeError,
    "the guest has written just that, in accesses of 2 bytes, and 1 is asked for",
  );
  assertThrows(
    () => expect(vm).toHavePortOutput(0x80, "AB", 3 as never),
    RangeError,
    "access of 3",
  );
});

Deno.test("an expression of an empty text, and one of what must not be in it, say something", () => {
  using vm = wordWritten();
  expect(vm).toHaveSerial(/^$/);
  expect(vm).toHaveSerial(/^[^!]*$/);
});

Deno.test("of a serial line that was not kept whole nothing is told", () => {
  using vm = boot(asm`
    mov dx, 0x3f8
    mov al, "!"
    out dx, al
    out dx, al
    hlt
  `);
  // It has room for one byte more: to send a MiB by a guest takes a million exits.
  const state = vm.serial.save() as { sent: { bytes: Uint8Array; dropped: number } };
  const bytes = new Uint8Array(2 ** 20 - 1).fill(0x2e);
  vm.serial.restore({ ...state, sent: { bytes, dropped: 0 } });
  vm.run();
  assertEquals([vm.serial.text.length, vm.serial.dropped], [2 ** 20, 1]);
  for (
    const call of [
      () => expect(vm).not.toHaveSerialContaining("panic"),
      () => expect(vm).not.toHaveSerial(/panic/),
      () => expect(vm).toHaveSerial(vm.serial.text),
    ]
  ) assertThrows(call, TypeError, "1 bytes after the first MiB were not kept");
});
