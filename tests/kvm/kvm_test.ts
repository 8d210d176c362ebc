import { KvmError } from "@vmexit/vmexit";
import { Kvm, KVM_API_VERSION, openHandles } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertThrows,
} from "@std/assert";
import { injected } from "../machine/injected_libc.ts";

Deno.test("KVM opens, tells its capabilities by name, and closes", () => {
  const before = openHandles();
  {
    using kvm = Kvm.open();
    assertEquals(KVM_API_VERSION, 12);
    assertEquals(kvm.capability("KVM_CAP_USER_MEMORY"), 1);
    assertGreaterOrEqual(kvm.capability("KVM_CAP_NR_MEMSLOTS"), 32);
    assertGreaterOrEqual(kvm.capability("KVM_CAP_NR_VCPUS"), 1);
    assertEquals(kvm.capability("KVM_CAP_S390_UCONTROL"), 0);
    assertGreaterOrEqual(kvm.vcpuMmapSize, 8192);
    assertEquals(kvm.vcpuMmapSize % 4096, 0);
  }
  assertEquals(openHandles(), before);
});

Deno.test("getSupportedCpuid gives as many entries as KVM has, and asks again where it has more", () => {
  using kvm = Kvm.open();
  const entries = kvm.getSupportedCpuid();
  assertGreater(entries.length, 5);

  const rooms: number[] = [];
  const short = injected((real) => ({
    errno: () => rooms.length < 3 ? ERRNO.E2BIG : real.errno(),
    ioctlBuffer(fd, request, buffer) {
      assertEquals(request, IOCTLS.KVM_GET_SUPPORTED_CPUID.number);
      rooms.push(new DataView(buffer.buffer).getUint32(0, true));
      return rooms.length < 3 ? -1 : real.ioctlBuffer(fd, request, buffer);
    },
  }));
  using reluctant = Kvm.open(short);
  assertEquals(reluctant.getSupportedCpuid().length, entries.length);
  assert(rooms[0] < rooms[1] && rooms[1] < rooms[2]);
});

Deno.test("once closed it is refused, by name", () => {
  const kvm = Kvm.open();
  kvm[Symbol.dispose]();
  kvm[Symbol.dispose]();
  for (
    const use of [
      () => kvm.capability("KVM_CAP_USER_MEMORY"),
      () => kvm.vcpuMmapSize,
      () => kvm.getSupportedCpuid(),
      () => kvm.createVm(),
    ]
  ) assertThrows(use, TypeError, "Cannot use /dev/kvm: it is disposed");
});

Deno.test("a VM that the kernel refuses is a KvmError, and nothing is left open", () => {
  const before = openHandles();
  {
    using kvm = Kvm.open(injected((real) => ({
      errno: () => ERRNO.ENOMEM,
      ioctl: (...args) => args[1] === IOCTLS.KVM_CREATE_VM.number ? -1 : real.ioctl(...args),
    })));
    const error = assertThrows(
      () => kvm.createVm(),
      KvmError,
      "KVM_CREATE_VM failed with ENOMEM (12): the host is short of memory",
    );
    assertEquals([error.ioctl, error.errno], ["KVM_CREATE_VM", ERRNO.ENOMEM]);
  }
  assertEquals(openHandles(), before);
});
