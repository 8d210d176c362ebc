import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "@vmexit/vmexit";
import { processCalls } from "../../lib/ffi/process_calls.ts";

const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;

Deno.test("a program that cannot be given its descriptors is not started, and nothing is left open", () => {
  const calls = processCalls();
  const [one, other] = calls.socketpair();
  const before = descriptors();
  const start = (given: readonly number[]) =>
    calls.spawn({ program: "/bin/true", args: ["true"], env: [], descriptors: given });
  const CLOSED = 1_000_000;
  assertThrows(() => start([one, other, CLOSED]), SystemError, "fcntl failed with EBADF");
  assertEquals(descriptors(), before);
  assertEquals(calls.wait(start([one, other])), 0);
  assertEquals(descriptors(), before);
});

Deno.test("a program that is not there is an error that names it", () => {
  const start = () =>
    processCalls().spawn({ program: "/nowhere", args: ["x"], env: [], descriptors: [] });
  assertThrows(start, SystemError, "/nowhere was not started");
});
