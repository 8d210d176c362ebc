import { assertEquals, assertThrows } from "@std/assert";
import { fault, type FaultFields } from "@vmexit/vmexit";

const TEXTS: [fields: FaultFields, text: string][] = [
  [{ cpl: 0 }, "#PF (cpl 0x0)"],
  [{ cpl: 3, errorCode: 0xffff_ffff }, "#PF (cpl 0x3, errorCode 0xffffffff)"],
  [{ cr2: 2n ** 64n - 1n, rip: "broken" }, '#PF (cr2 0xffffffffffffffff, rip "broken")'],
  [{ software: false }, "#PF (software false)"],
];

Deno.test("a fault is expected by its name alone", () => assertEquals(fault("#PF").text, "#PF"));

for (const [fields, text] of TEXTS) {
  Deno.test(`a fault is expected as ${text}`, () => assertEquals(fault("#PF", fields).text, text));
}

const REFUSED: FaultFields[] = [
  { cpl: 4 },
  { cpl: -1 },
  { cpl: 0.5 },
  { errorCode: 2 ** 32 },
  { cr2: 2n ** 64n },
  { cr2: -1n },
  { rip: 2 ** 60 },
  { software: 1 as never },
  { cpl: "0" as never },
];

for (const fields of REFUSED) {
  Deno.test(`no fault can have ${Deno.inspect(fields)}`, () => {
    assertThrows(() => fault("#PF", fields), RangeError, "Cannot expect #PF with ");
  });
}
