import { assertEquals, assertThrows } from "@std/assert";
import { placeRegion } from "../../../lib/x86/virtualization/place_region.ts";

Deno.test("regions are refused where they are misaligned, or past the physical-address width", () => {
  const page = new Uint8Array(4096);
  assertEquals(placeRegion("VMCB", 0x3000, page), { gpa: 0x3000, bytes: page, what: "VMCB" });
  assertThrows(
    () => placeRegion("VMCB", 0x3010, page),
    RangeError,
    "Cannot place the VMCB at 0x3010: its address is a multiple of 0x1000",
  );
  assertThrows(
    () => placeRegion("VMCS", 2 ** 36 - 4096 + 4096, page, 36),
    RangeError,
    "physical addresses have 36 bits",
  );
  placeRegion("VMCS", 2 ** 36 - 4096, page, 36);
});
