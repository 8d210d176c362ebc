import { asm, boot, CapabilityError, KvmError } from "@vmexit/vmexit";
import { CAPABILITIES, IOCTLS } from "@vmexit/vmexit/abi";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assertEquals, assertThrows } from "@std/assert";
import { injected } from "../injected_libc.ts";

const guest = asm`hlt`;

Deno.test("capabilities are switched on with one argument or several, before the CPU is there", () => {
  using vm = boot(guest, {
    capabilities: {
      KVM_CAP_MAX_VCPU_ID: [4],
      KVM_CAP_X86_USER_SPACE_MSR: 0,
    },
  });
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("capabilities that are none, that the kernel lacks, or whose arguments it refuses", () => {
  const before = openHandles();
  assertThrows(
    () => boot(guest, { capabilities: { KVM_CAP_DIRTY_RING: 1 } as never }),
    RangeError,
    '"KVM_CAP_DIRTY_RING": there is no capability of that name; the nearest are KVM_CAP_DIRTY_LOG_RING',
  );
  assertThrows(
    () => boot(guest, { capabilities: { KVM_CAP_MAX_VCPU_ID: [1, 2, 3, 4, 5] } }),
    RangeError,
    "with 5 arguments",
  );
  assertThrows(
    () => boot(guest, { capabilities: { KVM_CAP_EXIT_HYPERCALL: 1 } }),
    KvmError,
    "KVM_ENABLE_CAP failed with EINVAL",
  );
  const lacking = injected((real) => ({
    ioctl: (fd, request, argument) =>
      request === IOCTLS.KVM_CHECK_EXTENSION.number &&
        argument === CAPABILITIES.KVM_CAP_EXIT_HYPERCALL.number
        ? 0
        : real.ioctl(fd, request, argument),
  }));
  assertThrows(
    () => boot(guest, { libc: lacking, capabilities: { KVM_CAP_EXIT_HYPERCALL: 1 << 12 } }),
    CapabilityError,
    "lacks KVM_CAP_EXIT_HYPERCALL",
  );
  assertEquals(openHandles(), before);
});
