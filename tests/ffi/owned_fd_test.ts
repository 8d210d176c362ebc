import { libc, openHandles } from "@vmexit/vmexit/kvm";
import { OwnedFd } from "../../lib/ffi/owned_fd.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "./fake_libc.ts";

Deno.test("a descriptor is counted while it is open, and closed once", () => {
  const before = openHandles().fds;
  const { libc, calls } = fakeLibc({ close: () => 0 });
  const fd = new OwnedFd(libc, 7, "the thing");
  assertEquals([fd.number, openHandles().fds], [7, before + 1]);
  fd[Symbol.dispose]();
  fd[Symbol.dispose]();
  assertEquals([calls, openHandles().fds], [["close(7)"], before] as unknown[]);
  assertThrows(() => fd.number, TypeError, "Cannot use the thing: it is disposed");
});

Deno.test("a close that fails is a close all the same", () => {
  const before = openHandles().fds;
  const { libc, calls } = fakeLibc({ close: () => -1, errno: () => 4 });
  new OwnedFd(libc, 7, "the thing")[Symbol.dispose]();
  assertEquals([calls.length, openHandles().fds], [1, before]);
});

Deno.test("for real: the kernel's descriptor is open until it is disposed", () => {
  const fd = new OwnedFd(libc(), libc().eventfd(0, 0), "an eventfd");
  const path = `/proc/self/fd/${fd.number}`;
  assert(Deno.readLinkSync(path).includes("eventfd"));
  fd[Symbol.dispose]();
  assertThrows(() => Deno.readLinkSync(path), Deno.errors.NotFound);
});
