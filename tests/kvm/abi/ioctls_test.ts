import { assertEquals, assertThrows } from "@std/assert";
import { CAPABILITIES } from "../../../lib/kvm/abi/capabilities.ts";
import { ioctlNumber, IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { STRUCTS } from "../../../lib/kvm/abi/structs/mod.ts";

const NUMBERS: [name: keyof typeof IOCTLS, number: number][] = [
  ["KVM_GET_API_VERSION", 0xae00],
  ["KVM_CREATE_VM", 0xae01],
  ["KVM_RUN", 0xae80],
  ["KVM_SET_USER_MEMORY_REGION", 0x4020ae46],
  ["KVM_GET_REGS", 0x8090ae81],
  ["KVM_SET_REGS", 0x4090ae82],
  ["KVM_GET_SREGS", 0x8138ae83],
  ["KVM_SET_SREGS", 0x4138ae84],
  ["KVM_GET_SUPPORTED_CPUID", 0xc008ae05],
];
for (const [name, number] of NUMBERS) {
  Deno.test(`${name} is 0x${number.toString(16)}`, () => {
    assertEquals(IOCTLS[name].number, number);
  });
}

Deno.test("an ioctl number refuses what its fields cannot hold", () => {
  assertThrows(() => ioctlNumber("_IO", 256, 0), RangeError, "nr 256");
  assertThrows(() => ioctlNumber("_IOW", 0, 1 << 14), RangeError, "16384 bytes");
});

Deno.test("every ioctl of x86 is declared: 99 current, 4 legacy, 3 for registers by id", () => {
  assertEquals(Object.keys(IOCTLS).length, 99 + 4 + 3);
});

Deno.test("no two ioctls of one level have the same number", () => {
  const seen = new Map<string, string>();
  for (const { name, number, levels } of Object.values(IOCTLS)) {
    for (const level of levels) {
      const key = `${level} ${number}`;
      assertEquals(seen.get(key), undefined, `${name} and ${seen.get(key)} are one`);
      seen.set(key, name);
    }
  }
});

Deno.test("every ioctl with an argument has its size, and names a capability that exists", () => {
  for (const { name, macro, size, capability } of Object.values(IOCTLS)) {
    assertEquals(size === 0, macro === "_IO", name);
    if (capability !== undefined) assertEquals(CAPABILITIES[capability].name, capability, name);
  }
});

Deno.test("structures are found by the name that they have", () => {
  for (const [name, layout] of STRUCTS) assertEquals(layout.name, name);
});
