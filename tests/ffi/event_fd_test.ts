import { SystemError } from "@vmexit/vmexit";
import { libc, openHandles } from "@vmexit/vmexit/kvm";
import { EventFd } from "../../lib/ffi/event_fd.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "./fake_libc.ts";

Deno.test("an eventfd counts its signals until they are taken, and is counted itself", () => {
  const before = openHandles().fds;
  using event = new EventFd(libc(), "an eventfd");
  assertEquals(openHandles().fds, before + 1);
  assertEquals(event.take(), 0);
  event.signal();
  event.signal();
  assertEquals([event.take(), event.take()], [2, 0]);
  event[Symbol.dispose]();
  event[Symbol.dispose]();
  assertEquals([openHandles().fds, event.isOpen], [before, false]);
  for (const use of [() => event.signal(), () => event.take(), () => event.number]) {
    assertThrows(use, TypeError, "Cannot use an eventfd: it is disposed");
  }
});

Deno.test("an eventfd that the kernel refuses to make, to signal or to read says so", () => {
  const failing = fakeLibc({ eventfd: () => -1, errno: () => 24 });
  assertThrows(
    () => new EventFd(failing.libc, "an eventfd"),
    SystemError,
    "eventfd failed with EMFILE (24): an eventfd was not made",
  );
  const { libc: mute } = fakeLibc({
    eventfd: () => 9,
    write: () => -1,
    read: () => -1,
    close: () => 0,
    errno: () => 5,
  });
  using event = new EventFd(mute, "an eventfd");
  assertThrows(() => event.signal(), SystemError, "write failed with EIO (5): an eventfd was not");
  assertThrows(
    () => event.take(),
    SystemError,
    "read failed with EIO (5): an eventfd was not read",
  );
});
