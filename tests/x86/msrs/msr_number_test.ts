import { type Msr, MSR_ALIASES, MSR_FAMILIES, msrName, msrNumber, MSRS } from "@vmexit/vmexit/x86";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { msrText } from "../../../lib/x86/msrs/msr_number.ts";

Deno.test("names and numbers lead to each other, and no number has two names", () => {
  const numbers = new Set<number>();
  for (const [name, number] of Object.entries(MSRS)) {
    assertEquals(msrNumber(name as Msr), number);
    assertEquals(msrName(number), name);
    assert(!numbers.has(number), `${name} has the number of another`);
    numbers.add(number);
  }
  for (const [row, { base, stride, count }] of Object.entries(MSR_FAMILIES)) {
    for (let n = 0; n < count; n++) {
      const name = row.replace("#", `${n}`);
      assertEquals(msrNumber(name as Msr), base + n * stride);
      assertEquals(msrName(base + n * stride), name);
      assert(!numbers.has(base + n * stride), `${name} has the number of another`);
      numbers.add(base + n * stride);
    }
  }
  for (const [alias, name] of Object.entries(MSR_ALIASES)) {
    assertEquals(msrNumber(alias as Msr), MSRS[name]);
    assert(!Object.hasOwn(MSRS, alias));
  }
});

Deno.test("a number is its own number, as text too, and may have no name", () => {
  assertEquals(msrNumber(0x12345), 0x12345);
  assertEquals(msrNumber(String(0x12345) as Msr), 0x12345);
  assertEquals(msrName(0x12345), undefined);
  assertEquals([msrText(0x12345), msrText(0x10)], ["0x12345", "0x10 IA32_TSC"]);
});

Deno.test("what is no MSR is refused", () => {
  for (const bad of [-1, 2 ** 32, 0.5, NaN]) {
    assertThrows(() => msrNumber(bad), RangeError, `Cannot use ${bad} as the number of an MSR`);
  }
  assertThrows(
    () => msrNumber("IA32_MC32_CTL"),
    RangeError,
    'Cannot find an MSR "IA32_MC32_CTL": there is none of that name; the nearest are',
  );
  assertThrows(() => msrNumber("0x10" as Msr), RangeError, "goes by its number");
  assertThrows(() => msrNumber(undefined as unknown as Msr), TypeError, "that is undefined");
});
