import { HostError } from "@vmexit/vmexit";
import { libc } from "@vmexit/vmexit/kvm";
import { allocatePages, bufferPages, partOf } from "../../lib/ffi/pages.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";

Deno.test("pages are zeroed, whole, and begin on a page boundary, wherever the buffer does", () => {
  for (const [buffer, start] of [[0x1000n, 0], [0x1010n, 0xff0], [0x1fffn, 1]] as const) {
    const { bytes, address } = bufferPages(0x2000, 0x1000, 0, () => buffer, () => []);
    assertEquals(
      [bytes.length, bytes.byteOffset, address % 0x1000n],
      [0x2000, start, 0n] as unknown[],
    );
    assertEquals(address, buffer + BigInt(start));
    assert(bytes.every((byte) => byte === 0));
  }
});

Deno.test("for real: the address is that of the memory", () => {
  const { bytes, address } = allocatePages(libc(), 0x1000);
  assertEquals(address % 0x1000n, 0n);
  bytes[5] = 0x77;
  assertEquals(new Uint8Array(libc().memory(address, 16))[5], 0x77);
});

Deno.test("once disposed, neither the memory nor a view of it has bytes", () => {
  const pages = allocatePages(libc(), 0x1000);
  const view = pages.view(0x10, 4);
  const part = partOf(pages, 0, 0x1000);
  part[Symbol.dispose]();
  assertEquals([pages.bytes.length, view.length], [0x1000, 4]);
  pages[Symbol.dispose]();
  pages[Symbol.dispose]();
  assertEquals([pages.bytes.length, view.length, part.bytes.length], [0, 0, 0]);
});

Deno.test("more memory than there can be is an error that says what to do", () => {
  assertThrows(
    () => allocatePages(libc(), Number.MAX_SAFE_INTEGER - 4096),
    HostError,
    "Ask for less with the `memory` option",
  );
});
