import { assertThrows } from "@std/assert";
import { asm, boot, type BootOptions, Image } from "@vmexit/vmexit";
import { bootState } from "@vmexit/vmexit/x86";

const REFUSED: [
  options: BootOptions,
  error: typeof TypeError | typeof RangeError,
  message: string,
][] = [
  [
    { mode: "long", gdt: false },
    TypeError,
    "Cannot catch faults without GDT: leave out `gdt: false`",
  ],
  [{ mode: "protected", idt: false }, TypeError, "Cannot catch faults without IDT"],
  [{ mode: "pae", tss: false }, TypeError, "Cannot catch faults without TSS"],
  [
    { mode: "long", convention: "linux" },
    TypeError,
    "Cannot use the option catchFaults with the convention",
  ],
  [{ mode: "protected", gdt: 0x52f8 }, RangeError, "it overlaps the fault stubs at 0x5280–0x52ff"],
  [{ mode: "long", idt: 0x5300 }, RangeError, "stack of the fault stubs at 0x5300–0x53ff"],
  [
    { mode: "real", memory: 0x1000, origin: 0x40 },
    RangeError,
    "Cannot load the guest: it lies over the interrupt vectors at 0x0–0x7f",
  ],
  [
    { mode: "protected16", origin: 0x5280 },
    RangeError,
    "Cannot load the guest: it lies over the fault stubs at 0x5280–0x52ff",
  ],
  [
    {
      mode: "long",
      identityMap: false,
      mappings: [{ linear: 0x1_0000, physical: 0x1_0000, size: 0x1000 }],
    },
    RangeError,
    "Cannot catch faults: the page tables do not map the GDT at 0x5000 onto itself",
  ],
  [
    {
      mode: "pae",
      mappings: [{ linear: 0x5000, physical: 0x5000, size: 0x1000, executable: false }],
    },
    RangeError,
    "the page tables do not map the fault stubs at 0x5280 onto itself, for code",
  ],
];

Deno.test.each(REFUSED)("a fault catcher with %o is refused", (options, error, message) => {
  const guest = () => boot(asm`hlt`, { ...options, catchFaults: true } as BootOptions);
  assertThrows(guest, error as typeof RangeError, message);
});

Deno.test("memory that ends before the stubs is refused", () => {
  assertThrows(
    () => bootState({ mode: "protected", catchFaults: true, memorySize: 0x5000 }),
    RangeError,
    "the memory ends at 0x5000",
  );
});

Deno.test("an image over the vector table is refused only where it changes what the catcher needs", () => {
  const image = Image.fromBytes(new Uint8Array(0x600), { origin: 0 });
  assertThrows(
    () => boot(image, { entry: 0x500, catchFaults: true }),
    RangeError,
    "Load it elsewhere",
  );
  using _free = boot(image, { entry: 0x500 });
});

for (
  const [options, what] of [
    [{ mode: "protected", origin: 0x5008 }, "GDT at 0x5000"],
    [{ mode: "long", origin: 0x6000 }, "IDT at 0x6000"],
    [{ mode: "pae", origin: 0x1000 }, "PDPT at 0x1000"],
  ] as [BootOptions, string][]
) {
  Deno.test(`a guest over the ${what} is refused in ${options.mode} mode, without a fault catcher too`, () => {
    assertThrows(
      () => boot(asm`hlt`, options),
      RangeError,
      `Cannot load the guest: it lies over the ${what}`,
    );
  });
}
