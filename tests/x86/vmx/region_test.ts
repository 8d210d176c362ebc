import { assertEquals, assertThrows } from "@std/assert";
import { decodeVmxBasic } from "../../../lib/x86/vmx/vmx_basic.ts";
import { readVmcsHeader, vmcsRegion, vmxonRegion } from "../../../lib/x86/vmx/region.ts";

Deno.test("regions begin with the revision identifier, the VMCS's with the shadow bit", () => {
  const basic = decodeVmxBasic(0x00da_0400_7654_3210n);
  assertEquals(vmxonRegion(basic).length, 4096);
  assertEquals(readVmcsHeader(vmxonRegion(basic)), {
    revision: 0x7654_3210,
    shadow: false,
    abort: 0,
  });
  assertEquals(vmcsRegion(basic), vmxonRegion(basic));
  const shadow = vmcsRegion(basic, { shadow: true });
  assertEquals([...shadow.subarray(0, 8)], [0x10, 0x32, 0x54, 0xf6, 0, 0, 0, 0]);
  shadow[4] = 2;
  assertEquals(readVmcsHeader(shadow), { revision: 0x7654_3210, shadow: true, abort: 2 });
  for (const revision of [0x8000_0000, -1, 1.5]) {
    assertThrows(
      () => vmxonRegion(revision),
      RangeError,
      "as a VMCS revision identifier: it has 31 bits",
    );
  }
});
