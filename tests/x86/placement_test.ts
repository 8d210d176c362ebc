import { assertThrows } from "@std/assert";
import fc from "fast-check";
import { checkPlacements } from "../../lib/x86/placement.ts";

Deno.test("things that lie side by side, and empty ones anywhere, are let be", () => {
  checkPlacements([
    { what: "IDT", gpa: 0x6000, size: 0x1000 },
    { what: "GDT", gpa: 0x5000, size: 0x1000 },
    { what: "nothing", gpa: 0x5800, size: 0 },
  ], 0x7000);
});

Deno.test("an overlap of one byte is refused, and both are named", () => {
  assertThrows(
    () =>
      checkPlacements([
        { what: "IDT", gpa: 0x5fff, size: 0x1000 },
        { what: "GDT", gpa: 0x5000, size: 0x1000 },
      ]),
    RangeError,
    "Cannot place the IDT at 0x5fff–0x6ffe: it overlaps the GDT at 0x5000–0x5fff",
  );
});

Deno.test("what passes the end of the memory is refused", () => {
  assertThrows(
    () => checkPlacements([{ what: "TSS", gpa: 0xff9, size: 104 }], 0x1000),
    RangeError,
    "the memory ends at 0x1000",
  );
});

Deno.test("what is not an address is refused", () => {
  for (const gpa of [-1, 0.5, NaN, 2 ** 60]) {
    assertThrows(() => checkPlacements([{ what: "TSS", gpa, size: 1 }]), RangeError, `${gpa}`);
  }
});

Deno.test("two things are refused if and only if they share a byte", () => {
  const range = fc.record({ gpa: fc.nat(40), size: fc.nat(10) });
  fc.assert(fc.property(range, range, (a, b) => {
    const bytes = (r: typeof a) => Array.from({ length: r.size }, (_, index) => r.gpa + index);
    const shared = bytes(a).some((byte) => bytes(b).includes(byte));
    const check = () => checkPlacements([{ what: "a", ...a }, { what: "b", ...b }]);
    if (shared) assertThrows(check, RangeError);
    else check();
  }));
});
