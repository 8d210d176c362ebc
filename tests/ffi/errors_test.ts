import { SystemError } from "@vmexit/vmexit";
import { errnoName } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { assertEquals } from "@std/assert";
import { constants } from "node:os";

Deno.test("errno names are the system's, and a number without one says so", () => {
  const known = constants.errno as Readonly<Record<string, number>>;
  for (const [name, number] of Object.entries(ERRNO)) {
    assertEquals(errnoName(number), name);
    // The kernel has more than Node names.
    if (name in known) assertEquals(known[name], number, name);
  }
  assertEquals(errnoName(71), "errno 71");
});

Deno.test("a SystemError has the call, errno and what was being done", () => {
  const error = new SystemError("mmap", ERRNO.ENOMEM, "nothing was mapped");
  assertEquals(
    [error.name, error.call, error.errno, error.message],
    ["SystemError", "mmap", 12, "mmap failed with ENOMEM (12): nothing was mapped"],
  );
});
