import { HostError, libc } from "@vmexit/vmexit";
import { allocatePages } from "../../lib/ffi/pages.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "./fake_libc.ts";

Deno.test("pages are zeroed, whole, and begin on a page boundary, wherever the buffer does", () => {
  for (const [buffer, start] of [[0x1000n, 0], [0x1010n, 0xff0], [0x1fffn, 1]] as const) {
    const { libc } = fakeLibc({ addressOf: () => buffer });
    const { bytes, address } = allocatePages(libc, 0x2000);
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

Deno.test("more memory than there can be is an error that says what to do", () => {
  assertThrows(
    () => allocatePages(libc(), Number.MAX_SAFE_INTEGER - 4096),
    HostError,
    "Ask for less with the `memory` option",
  );
});
