import { libc } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { MAP, MAP_FAILED, PROT } from "../../lib/ffi/mman.ts";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";

Deno.test("libc is opened once", () => {
  const first = libc();
  assert(libc() === first);
});

Deno.test("a call that fails returns -1 and leaves its errno", () => {
  const c = libc();
  assertEquals([c.open("/no/such/file", 0), c.errno()], [-1, ERRNO.ENOENT]);
  assertEquals([c.close(-1), c.errno()], [-1, ERRNO.EBADF]);
  assertEquals([c.ioctl(-1, 0xae00, 0), c.errno()], [-1, ERRNO.EBADF]);
  assertEquals([c.ioctlBuffer(-1, 0xae00, new Uint8Array(1)), c.errno()], [-1, ERRNO.EBADF]);
  assertEquals([c.read(-1, new Uint8Array(1)), c.errno()], [-1, ERRNO.EBADF]);
  assertEquals(
    [c.mmap(4096, PROT.READ, MAP.SHARED, -1, 0), c.errno()],
    [MAP_FAILED, ERRNO.EBADF] as unknown[],
  );
  assertEquals(
    [c.timer_delete(0x7fff_ffffn) === 0, c.timer_settime(0x7fff_ffffn, new Uint8Array(32))]
      .includes(0),
    false,
  );
});

Deno.test("files: written, sought, read", () => {
  const c = libc();
  const fd = c.memfd_create("vmexit-test-file", 0);
  assertEquals(c.write(fd, new Uint8Array([1, 2, 3])), 3);
  assertEquals(c.lseek(fd, 1, 0), 1);
  const buffer = new Uint8Array(8);
  assertEquals([c.read(fd, buffer), buffer[0], buffer[1]], [2, 2, 3]);
  assertEquals([c.pread(fd, buffer, 2), buffer[0]], [1, 3]);
  assertEquals(c.close(fd), 0);
});

Deno.test("a name with a NUL is refused: C would read only what is before it", () => {
  assertThrows(() => libc().open("/dev/null\0x", 0), TypeError, "it contains a NUL");
});

Deno.test("addresses are those of the memory", () => {
  const c = libc();
  const bytes = new Uint8Array([7, 8, 9]);
  assertEquals(new Uint8Array(c.memory(c.addressOf(bytes), 3)), bytes);
  assertGreater(Number(c.functionAddress("getpid")), 0);
  assertGreater(c.gettid(), 0);
});
