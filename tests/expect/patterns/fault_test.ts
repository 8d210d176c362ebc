import { assertEquals, assertThrows } from "@std/assert";
import { asm, boot, expect, fault, type FaultFields, hlt } from "@vmexit/vmexit";

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

Deno.test("an `int` is expected by its name, in a transcript and by toFault", () => {
  const guest = asm`
    int 0x10
  dos:
    int 0x21
  behind:
    hlt
  `;
  using vm = boot(guest, { catchFaults: true });
  expect(vm).toExit([fault("int 0x10", { rip: "dos" }), fault("int 0x21"), hlt()]);

  using other = boot(guest, { catchFaults: true });
  expect(other).toFault("int 0x10");
  expect(other).toFault("int 0x21", { rip: "behind", cpl: 0 });

  using wrong = boot(guest, { catchFaults: true });
  assertThrows(() => expect(wrong).toFault("int 0x13"), Error, "received int 0x10 at 0x500");
  assertThrows(() => expect(wrong).toFault("#XM"), Error, "received int 0x21 at 0x502");
  assertThrows(() => expect(wrong).toFault("int 0x21"), Error, "no fault: HLT");
});

Deno.test("an exception is no `int` of its vector, and elsewhere a vector without a gate is a #GP", () => {
  using vm = boot(asm`ud2`, { catchFaults: true });
  assertThrows(() => expect(vm).toFault("int 0x6"), Error, "received #UD at 0x500");
  using flat = boot(asm`int 0x21`, { catchFaults: true, mode: "protected" });
  assertThrows(() => expect(flat).toFault("int 0x21"), Error, "gate 0x21 of the IDT");
});

Deno.test("an `int` that cannot be expected is refused", () => {
  assertThrows(() => fault("int 0x3"), RangeError, '"#BP"');
  assertThrows(() => fault("int 0x100"), RangeError, 'Cannot find exception "int 0x100"');
  assertThrows(() => fault("int 0x21", { software: true }), TypeError, "its name says so");
  assertThrows(() => fault("int 0xd", { errorCode: 0 }), TypeError, "pushes no error code");
});
