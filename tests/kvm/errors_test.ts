import { KvmError } from "@vmexit/vmexit";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { assertEquals } from "@std/assert";

Deno.test("the message has the ioctl, errno's name, what was being done and the likely cause", () => {
  const cases: [string, number, string | undefined, string][] = [
    [
      "KVM_CREATE_VCPU",
      ERRNO.EEXIST,
      "with id 0",
      "KVM_CREATE_VCPU failed with EEXIST (17) with id 0: the VM has a vCPU of that id already",
    ],
    [
      "KVM_CREATE_VM",
      ERRNO.EBUSY,
      undefined,
      "KVM_CREATE_VM failed with EBUSY (16): another hypervisor on this host uses the virtualization extension",
    ],
    [
      "KVM_GET_REGS",
      ERRNO.EBADF,
      undefined,
      "KVM_GET_REGS failed with EBADF (9): the file descriptor is closed",
    ],
    ["KVM_GET_REGS", ERRNO.EIO, undefined, "KVM_GET_REGS failed with EIO (5)"],
    ["KVM_GET_REGS", 71, undefined, "KVM_GET_REGS failed with errno 71 (71)"],
  ];
  for (const [ioctl, errno, context, message] of cases) {
    const error = new KvmError(ioctl, errno, context);
    assertEquals([error.name, error.ioctl, error.errno, error.message], [
      "KvmError",
      ioctl,
      errno,
      message,
    ]);
  }
});
