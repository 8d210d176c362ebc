import { KvmError } from "@vmexit/vmexit";
import { Kvm, kvmLibc } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { allocatePages, partOf } from "../../lib/ffi/pages.ts";
import { assertEquals, assertThrows } from "@std/assert";

const PAGE = 4096;

Deno.test("memory slots: alignment is checked before the kernel is asked, an overlap by it", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  const pages = allocatePages(kvmLibc(), 2 * PAGE);
  const message = "is not a multiple of 4096";
  assertThrows(() => vm.setMemorySlot({ slot: 0, gpa: 0x800, pages }), RangeError, message);
  const half = partOf(pages, 0, 100);
  assertThrows(() => vm.setMemorySlot({ slot: 0, gpa: 0, pages: half }), RangeError, message);
  vm.setMemorySlot({ slot: 0, gpa: 0, pages });
  vm.setMemorySlot({ slot: 1, gpa: 0x10000, pages, readonly: true });
  vm.setMemorySlot({ slot: 2, gpa: 0x20000, pages, logDirtyPages: true });
  const overlap = assertThrows(
    () => vm.setMemorySlot({ slot: 3, gpa: PAGE, pages }),
    KvmError,
    "KVM_SET_USER_MEMORY_REGION failed with EEXIST (17) on slot 3: the slot overlaps another one",
  );
  assertEquals(overlap.errno, ERRNO.EEXIST);
  assertThrows(() => vm.setMemorySlot({ slot: 2 ** 15, gpa: 0x30000, pages }), KvmError, "EINVAL");
});

Deno.test("a vCPU's id can be had once", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using first = vm.createVcpu(0);
  const error = assertThrows(
    () => vm.createVcpu(0),
    KvmError,
    "the VM has a vCPU of that id already",
  );
  assertEquals([error.ioctl, error.errno], ["KVM_CREATE_VCPU", ERRNO.EEXIST]);
  using second = vm.createVcpu(1);
  assertEquals([first.id, second.id], [0, 1]);
  assertThrows(() => vm.createIrqchip(), KvmError, "it must be created before the first vCPU");
});

Deno.test("once closed it is refused, by name", () => {
  using kvm = Kvm.open();
  const vm = kvm.createVm();
  vm[Symbol.dispose]();
  vm[Symbol.dispose]();
  const pages = allocatePages(kvmLibc(), PAGE);
  for (
    const use of [
      () => vm.createVcpu(0),
      () => vm.createIrqchip(),
      () => vm.setMemorySlot({ slot: 0, gpa: 0, pages }),
      () => vm.setRealModePages(0xfffbd000, 0xfffbc000),
    ]
  ) assertThrows(use, TypeError, "Cannot use the VM: it is disposed");
});
