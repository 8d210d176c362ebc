import { errnoName, libc, openHandles } from "@vmexit/vmexit/kvm";
import { Mapping, OwnedFd } from "../../lib/ffi/handles.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "./fake_libc.ts";
import { SystemError } from "@vmexit/vmexit";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { MAP_FAILED } from "../../lib/ffi/mman.ts";

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

const PAGE = 4096;

Deno.test("a mapping is counted while it is there, and unmapped once", () => {
  const before = openHandles().mappings;
  const { libc, calls } = fakeLibc({
    mmap: () => 0x7000n,
    munmap: () => 0,
    memory: (_address, length) => new ArrayBuffer(length),
  });
  const mapping = new Mapping(libc, 5, PAGE, "kvm_run");
  assertEquals([mapping.view.byteLength, openHandles().mappings], [PAGE, before + 1]);
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  assertEquals(calls, ["mmap(4096, 3, 1, 5, 0)", "memory(28672, 4096)", "munmap(28672, 4096)"]);
  assertEquals(openHandles().mappings, before);
  assertEquals(mapping.view.byteLength, 0);
  assertThrows(() => mapping.view.getUint8(0), RangeError);
});

Deno.test("a mapping that the kernel refuses is an error with errno's name, and counts nothing", () => {
  const before = openHandles().mappings;
  for (const errno of [ERRNO.ENOMEM, ERRNO.ENODEV, ERRNO.EACCES]) {
    const { libc } = fakeLibc({ mmap: () => MAP_FAILED, errno: () => errno });
    const error = assertThrows(
      () => new Mapping(libc, 5, PAGE, "kvm_run"),
      SystemError,
      `mmap failed with ${errnoName(errno)} (${errno}): 4096 bytes of kvm_run were not mapped`,
    );
    assertEquals([error.call, error.errno], ["mmap", errno]);
  }
  assertEquals(openHandles().mappings, before);
});

Deno.test("for real: what is written to a mapping is in the file, and it is gone once disposed", () => {
  using fd = new OwnedFd(libc(), libc().memfd_create("vmexit-test-mapping", 0), "a file");
  libc().write(fd.number, new Uint8Array(PAGE));
  const isMapped = () => Deno.readTextFileSync("/proc/self/maps").includes("vmexit-test-mapping");
  {
    using mapping = new Mapping(libc(), fd.number, PAGE, "a file");
    mapping.view.setUint32(8, 0x1234_5678, true);
    assert(isMapped());
  }
  assert(!isMapped());
  const read = new Uint8Array(4);
  assertEquals(libc().pread(fd.number, read, 8), 4);
  assertEquals(read, new Uint8Array([0x78, 0x56, 0x34, 0x12]));
});

Deno.test("for real: a descriptor that cannot be mapped", () => {
  assertThrows(
    () => new Mapping(libc(), -1, PAGE, "nothing"),
    SystemError,
    "mmap failed with EBADF (9)",
  );
});
