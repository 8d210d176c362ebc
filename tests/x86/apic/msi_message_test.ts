import { DELIVERY_MODES, type MsiFields, msiMessage } from "@vmexit/vmexit/x86";
import { checkMsiMessage } from "../../../lib/x86/apic/msi_message.ts";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

Deno.test("an MSI's fields lie where the manual has them", () => {
  const cases: [MsiFields, number, number][] = [
    [{ vector: 16 }, 0xfee00000, 0x10],
    [{ vector: 0xff, destination: 0xff }, 0xfeeff000, 0xff],
    [{ vector: 0x41, destination: 3, logical: true }, 0xfee0300c, 0x41],
    [{ vector: 0x41, deliveryMode: "lowest priority" }, 0xfee00000, 0x141],
    [{ deliveryMode: "SMI" }, 0xfee00000, 0x200],
    [{ deliveryMode: "NMI" }, 0xfee00000, 0x400],
    [{ deliveryMode: "INIT", destination: 1 }, 0xfee01000, 0x500],
    [{ deliveryMode: "ExtINT" }, 0xfee00000, 0x700],
    [{ vector: 0x41, trigger: "level" }, 0xfee00000, 0xc041],
  ];
  for (const [fields, address, data] of cases) {
    assertEquals(msiMessage(fields), { address, data }, JSON.stringify(fields));
  }
});

Deno.test("every message that can be made is one that local APICs take", () => {
  fc.assert(fc.property(
    fc.record({
      vector: fc.integer({ min: 16, max: 255 }),
      destination: fc.integer({ min: 0, max: 255 }),
      logical: fc.boolean(),
      deliveryMode: fc.constantFrom(...DELIVERY_MODES),
      trigger: fc.constantFrom("edge" as const, "level" as const),
    }),
    (fields) => checkMsiMessage(msiMessage(fields)),
  ));
});

Deno.test("an MSI that cannot be is refused", () => {
  const refused: [() => unknown, string][] = [
    [() => msiMessage({}), "vector 0x0: APICs take vectors from 16 to 255"],
    [() => msiMessage({ vector: 15 }), "vector 0xf: APICs take"],
    [() => msiMessage({ vector: 256 }), "vector 0x100: it is not a whole number of 8 bits"],
    [() => msiMessage({ vector: 1.5 }), "vector 1.5: it is not"],
    [() => msiMessage({ vector: 32, destination: -1 }), "destination -0x1: it is not"],
    [
      () => msiMessage({ vector: 32, deliveryMode: "nmi" as "NMI" }),
      'delivery mode "nmi": there are fixed',
    ],
    [() => checkMsiMessage({ address: 0xfee00002, data: 32 }), "an MSI to 0xfee00002"],
    [() => checkMsiMessage({ address: 0xfef00000, data: 32 }), "an MSI to 0xfef00000"],
    [() => checkMsiMessage({ address: 0x1_fee00000, data: 32 }), "an MSI to 0x1fee00000"],
    [
      () => checkMsiMessage({ address: 0xfee00000, data: -1 }),
      "data -0x1: it is not a whole number",
    ],
  ];
  for (const [refuse, message] of refused) assertThrows(refuse, RangeError, message);
});
