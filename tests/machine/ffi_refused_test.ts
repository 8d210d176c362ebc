// In a file of its own: libc stays open once it is, and `deno test` gives every file modules of its own.
import { asm, boot, Image, libc } from "@vmexit/vmexit";
import { assertThrows } from "@std/assert";

Deno.test({
  name: "without the permission for FFI, boot says which permission is missing and how to give it",
  permissions: { ffi: false, env: true, run: true, read: true, write: true },
  fn() {
    const guest = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });
    const { NotCapable } = Deno.errors;
    assertThrows(() => boot(guest), NotCapable, "Run with --allow-ffi (without a path)");
    assertThrows(() => libc(), NotCapable, "FFI is not permitted");
    assertThrows(() => boot(asm`hlt`), NotCapable);
  },
});
