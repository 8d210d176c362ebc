import { CapabilityError, KvmError, MsrError, requires } from "@vmexit/vmexit";
import { KVM_X86 } from "@vmexit/vmexit/abi";
import { Kvm } from "@vmexit/vmexit/kvm";
import {
  assert,
  assertArrayIncludes,
  assertEquals,
  assertGreater,
  assertThrows,
} from "@std/assert";

const MSR_EFER = 0xc0000080;
const MSR_STAR = 0xc0000081;
const MSR_TSC = 0x10;
const MSR_SYSENTER_CS = 0x174;
const MSR_IA32_ARCH_CAPABILITIES = 0x10a;
const HYPERV_VENDOR_LEAF = 0x40000000;

Deno.test("getSupportedCpuid and getEmulatedCpuid list leaves", () => {
  using kvm = Kvm.open();
  const supported = kvm.getSupportedCpuid();
  const vendor = supported.find((entry) => entry.function === 0);
  assert(vendor !== undefined && vendor.eax >= 0xd);
  assertGreater(kvm.getEmulatedCpuid().length, 0);
});

Deno.test(
  requires({ sysHypervCpuid: true }, "getSupportedHvCpuid lists the Hyper-V leaves"),
  () => {
    using kvm = Kvm.open();
    assertEquals(kvm.getSupportedHvCpuid()[0].function, HYPERV_VENDOR_LEAF);
  },
);

Deno.test("getMsrIndexList has the MSRs of a guest, getMsrFeatureIndexList those that say what the host offers", () => {
  using kvm = Kvm.open();
  assertArrayIncludes(kvm.getMsrIndexList(), [MSR_STAR, MSR_TSC, MSR_SYSENTER_CS]);
  const features = kvm.getMsrFeatureIndexList();
  assertArrayIncludes(features, [MSR_IA32_ARCH_CAPABILITIES]);
  const values = kvm.getMsrs(features);
  assertEquals(values.map(({ index }) => index), features);
});

Deno.test("getMsrs of KVM itself says which MSR is no feature", () => {
  using kvm = Kvm.open();
  const error = assertThrows(
    () => kvm.getMsrs([MSR_IA32_ARCH_CAPABILITIES, MSR_EFER]),
    MsrError,
    "KVM_GET_MSRS refused MSR 0xc0000080, 2 of 2",
  );
  assertEquals([error.index, error.position], [MSR_EFER, 1]);
});

Deno.test("x86GetMceCapSupported has machine checks with UCNA or SER features in the bits of MCG_CAP", () => {
  using kvm = Kvm.open();
  assertGreater(kvm.x86GetMceCapSupported(), 0xffn);
});

Deno.test(
  requires(
    { sysAttributes: true },
    "KVM's own attributes: XCOMP_GUEST_SUPP is there and can be read, others are not",
  ),
  () => {
    using kvm = Kvm.open();
    const known = { group: KVM_X86.GRP_SYSTEM, attr: KVM_X86.XCOMP_GUEST_SUPP };
    const unknown = { group: KVM_X86.GRP_SYSTEM, attr: 99 };
    assert(kvm.attributes.hasDeviceAttr(known));
    assert(!kvm.attributes.hasDeviceAttr(unknown));
    const components = kvm.attributes.getDeviceAttr(known, 8);
    assertEquals(components[0] & 3, 3, "x87 and SSE are among the components");
    assertThrows(
      () => kvm.attributes.getDeviceAttr(unknown, 8),
      KvmError,
      "KVM_GET_DEVICE_ATTR failed with ENXIO",
    );
  },
);

Deno.test("a VM has no attributes on x86, and says by which capability", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  const error = assertThrows(
    () => vm.attributes.hasDeviceAttr({ group: 0, attr: 0 }),
    CapabilityError,
  );
  assertEquals([error.ioctl, error.capability], ["KVM_HAS_DEVICE_ATTR", "KVM_CAP_VM_ATTRIBUTES"]);
});
