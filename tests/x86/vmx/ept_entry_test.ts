import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { decodeEptPointer, eptPointer } from "../../../lib/x86/vmx/ept_entry.ts";

Deno.test("an EPT pointer has the manual's bits, and its address is aligned down", () => {
  assertEquals(eptPointer({ root: 0x5000 }), 0x501en);
  assertEquals(eptPointer({ root: 0x5fff }), 0x501en);
  assertEquals(eptPointer({ root: 0, memoryType: "UC" }), 0x18n);
  assertEquals(eptPointer({ root: 0x1000, walkLength: 5, accessedDirty: true }), 0x1066n);
  assertEquals(eptPointer({ root: 2 ** 52 - 1 }), 0xf_ffff_ffff_f01en);
  assertEquals(decodeEptPointer(0xf_ffff_ffff_f05en), {
    root: 2 ** 52 - 4096,
    memoryType: "WB",
    walkLength: 4,
    accessedDirty: true,
  });
  assertEquals(decodeEptPointer(0x1002n).memoryType, undefined);
  assertEquals(decodeEptPointer(0x1006n).walkLength, undefined);
});

Deno.test("an EPT pointer comes back as it was made", () => {
  const pointers = fc.record({
    root: fc.nat(2 ** 31).map((page) => page * 4096),
    memoryType: fc.constantFrom("UC", "WB"),
    walkLength: fc.constantFrom(4, 5),
    accessedDirty: fc.boolean(),
  });
  fc.assert(fc.property(pointers, (pointer) => {
    assertEquals(decodeEptPointer(eptPointer(pointer)), pointer);
  }));
});

Deno.test("an EPT pointer that cannot be is refused", () => {
  assertThrows(
    () => eptPointer({ root: 2 ** 46 }, 46),
    RangeError,
    "physical addresses have 46 bits",
  );
  assertThrows(() => eptPointer({ root: -1 }), RangeError, "as the address of EPT's root");
  assertThrows(
    () => eptPointer({ root: 0, memoryType: "WT" }),
    RangeError,
    'Cannot use the memory type "WT": here it is one of',
  );
  assertThrows(() => eptPointer({ root: 0, walkLength: 3 as never }), RangeError, "it is 4 or 5");
});
