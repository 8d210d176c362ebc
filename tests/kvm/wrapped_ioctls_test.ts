import { IOCTLS, KVM_DEV_TYPE } from "@vmexit/vmexit/abi";
import { Kvm } from "@vmexit/vmexit/kvm";
import { SUPERSEDED_IOCTLS, WRAPPED_IOCTLS } from "../../lib/kvm/wrapped_ioctls.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { IOCTL_TESTS } from "./ioctl_tests.ts";
import { levels } from "./levels.ts";

/** KVM_GET_ONE_REG and its kin, which x86 took over later. */
const REGISTERS_BY_ID = 3;

Deno.test("every ioctl is wrapped: 99 current ones and 3 for registers by id; 4 are superseded", () => {
  assertEquals(Object.keys(WRAPPED_IOCTLS).length, 99 + REGISTERS_BY_ID);
  assertEquals(
    [...Object.keys(WRAPPED_IOCTLS), ...Object.keys(SUPERSEDED_IOCTLS)].toSorted(),
    Object.keys(IOCTLS).toSorted(),
  );
});

Deno.test("where the list says that an ioctl is reached, there is something", () => {
  using on = levels();
  const device = on.vm.hasDevice(KVM_DEV_TYPE.VFIO) ? on.vm.createDevice(KVM_DEV_TYPE.VFIO) : {
    // A device has nothing but these, and they are the same on every level.
    attributes: on.vm.attributes,
  };
  const roots: Record<string, unknown> = { Kvm, ...on, device };
  for (const [name, paths] of Object.entries(WRAPPED_IOCTLS)) {
    for (const path of paths) {
      let value: unknown = roots;
      for (const part of path.split(".")) value = (value as Record<string, unknown>)[part];
      assert(value !== undefined, `${name}: there is no ${path}`);
    }
  }
  if (Symbol.dispose in device) device[Symbol.dispose]();
});

Deno.test("the methods have their ioctl's name, but for those of the harness itself", () => {
  const others = Object.entries(WRAPPED_IOCTLS).filter(([name, paths]) => {
    const camel = name.slice("KVM_".length).toLowerCase().replace(
      /_(\w)/g,
      (_, letter) => letter.toUpperCase(),
    );
    return !paths.every((path) => path.endsWith(`.${camel}`));
  });
  assertEquals(others.map(([name]) => name), [
    "KVM_GET_API_VERSION",
    "KVM_CHECK_EXTENSION",
    "KVM_GET_VCPU_MMAP_SIZE",
    "KVM_SET_USER_MEMORY_REGION",
    "KVM_SET_TSS_ADDR",
    "KVM_SET_IDENTITY_MAP_ADDR",
  ]);
});

Deno.test("the test that is named for an ioctl calls it", () => {
  // By way of other methods: the offset of the TSC is an attribute.
  const byWayOf: Record<string, string> = { KVM_SET_DEVICE_ATTR: ".setTscOffset" };
  for (const [name, { test }] of Object.entries(IOCTL_TESTS)) {
    const text = Deno.readTextFileSync(new URL(test, import.meta.url));
    const methods = WRAPPED_IOCTLS[name as keyof typeof WRAPPED_IOCTLS];
    const called = methods.some((path) => text.includes(path.slice(path.lastIndexOf("."))));
    if (!called) assertStringIncludes(text, byWayOf[name], `${name} in ${test}`);
  }
});
