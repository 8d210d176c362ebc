import { asm, boot, type BootOptions, expect, hlt, requires } from "@vmexit/vmexit";
import { assert, assertEquals } from "@std/assert";

const PAGE_SIZE_EXTENSIONS = 0x10;
const PAGING = 0x8000_0000;
const FAR_ADDRESS = 1n << 48n;

function text(value: number): string {
  return String.fromCharCode(value & 0xff, value >> 8 & 0xff, value >> 16 & 0xff, value >>> 24);
}

Deno.test.each(
  [
    { pages: "4M", expected: "LARG", pse: PAGE_SIZE_EXTENSIONS, physical: 0x800 },
    { pages: "4K", expected: "SMAL", pse: 0, physical: 0x10_1800 },
  ] as const,
)(
  "32-bit paging with $pages pages: an entry with PS leads the CPU, and the walker, to $physical",
  ({ pages, expected, pse, physical }) => {
    using vm = boot(asm.file("../../guests/modes/paged.asm"), {
      mode: "paged",
      identityMap: pages,
    });
    expect(vm).toExit([hlt()]);
    assertEquals(text(vm.registers.eax), expected);
    assertEquals(vm.registers.ebx & PAGE_SIZE_EXTENSIONS, pse);
    assertEquals(vm.registers.ecx >>> 0 & PAGING, PAGING | 0);
    assertEquals(vm.linear.toPhysical(0x80_0800), physical);
    assertEquals(text(vm.linear.u32(0x80_0800)), expected);
  },
);

Deno.test("32-bit paging: mappings lead where they say, the walker follows, and what is not mapped is a page fault", () => {
  using vm = boot(
    asm`
      bits 32
      mov dword [0x40000000], 0x11223344
      mov byte [0x50000000], 1
      hlt
    page_fault:
      pop ecx
      mov edx, cr2
      hlt
    `,
    {
      mode: "paged",
      mappings: [
        { linear: 0x4000_0000, physical: 0x18_0000, size: 0x1000 },
        { linear: 0x5000_0000, size: 0x1000, present: false },
      ],
      gates: { 14: "page_fault" },
    },
  );
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x18_0000, [0x44, 0x33, 0x22, 0x11]);
  expect(vm).toHaveLinearMemory(0x4000_0000, [0x44, 0x33, 0x22, 0x11]);
  expect(vm).toHaveRegisters({ ecx: 2, edx: 0x5000_0000 }); // a write to what is not present
  const { paging, levels } = vm.linear.walk(0x4000_0000);
  assertEquals([paging, levels.map(({ level }) => level)], ["32-bit", ["PDE", "PTE"]] as unknown[]);
});

Deno.test("PAE: four entries cover 1 GiB each, and a page without execution faults at a fetch", () => {
  using vm = boot(asm.file("../../guests/modes/pae.asm"), {
    mode: "pae",
    mappings: [{ linear: 0x19_0000, size: 0x1000, executable: false }],
    gates: { 14: "page_fault" },
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ ebx: 0x1234_5678, ecx: 0x11, edx: 0x19_0000 });
  assertEquals(vm.linear.toPhysical(0xc018_0000), 0x18_0000);
  const { paging, result } = vm.linear.walk(0x19_0000);
  assert("executable" in result);
  assertEquals([paging, result.executable], ["PAE", false] as unknown[]);
});

Deno.test("PAE: 32-bit code reaches physical memory above 4 GiB", () => {
  using vm = boot(
    asm`
      mov dword [0x40000000], 0x11223344
      hlt
    `,
    {
      mode: "pae",
      slots: [{ gpa: 0x1_0000_0000, size: "4K" }],
      mappings: [{ linear: 0x4000_0000, physical: 0x1_0000_0000, size: 0x1000 }],
    },
  );
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x1_0000_0000, [0x44, 0x33, 0x22, 0x11]);
});

Deno.test("compatibility mode: 32-bit code calls 64-bit code through a selector; in protected mode the same bytes are 32-bit code", () => {
  const guest = asm.file("../../guests/modes/compatibility.asm");
  using compatibility = boot(guest, { mode: "compatibility" });
  expect(compatibility).toExit([hlt()]);
  expect(compatibility).toHaveRegisters({ ebx: 1, edx: 0x1122_3344, "cs.l": 0, "cs.db": 1 });
  assertEquals(compatibility.registers.efer.lma, true);

  using protectedMode = boot(guest, { mode: "protected" });
  expect(protectedMode).toExit([hlt()]);
  expect(protectedMode).toHaveRegisters({ ebx: 1, edx: 0x32 });
});

Deno.test("64-bit mode: R8 to R15, addresses of 64 bits, and EFER.LMA", () => {
  using vm = boot(asm.file("../../guests/modes/long.asm"), {
    mode: "long",
    mappings: [{ linear: 0xffff_ffff_8000_0000n, physical: 0x18_0000, size: 0x1000 }],
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x18_0008, [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
  expect(vm).toHaveRegisters({ r10: "_start", eax: 0xd00 });
});

Deno.test(
  requires(
    { la57: true },
    "5 levels: an address of 49 bits is mapped, and the walker passes a PML5E",
  ),
  () => {
    using vm = boot(asm.file("../../guests/modes/five_levels.asm"), {
      mode: "long",
      levels: 5,
      mappings: [{ linear: FAR_ADDRESS, physical: 0x18_0000, size: 0x1000 }],
      pageTables: 0x2_0000,
      gates: { 13: "general_protection" },
    });
    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ al: 5 });
    expect(vm).toHaveMemory(0x18_0010, [0x78, 0x56, 0x34, 0x12]);
    assertEquals(vm.registers.rcx >> 12n & 1n, 1n);
    assertEquals(vm.linear.walk(FAR_ADDRESS).levels[0].level, "PML5E");
    assertEquals(vm.linear.toPhysical(FAR_ADDRESS), 0x18_0000);
  },
);

Deno.test("4 levels: the same address is not canonical", () => {
  using vm = boot(asm.file("../../guests/modes/five_levels.asm"), {
    mode: "long",
    gates: { 13: "general_protection" },
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ al: 4 });
});

const outOfOrder: [options: BootOptions, message: string][] = [
  [{ mode: "paged", entry: 2 ** 32 }, "it has 32 bits in this mode"],
  [{ mode: "protected16", stack: 0x1_0000 }, "it has 16 bits in this mode"],
  [{ mode: "long", levels: 3 as 4 }, "there are 4 and 5"],
  [{ mode: "long", convention: "multiboot" as "plain" }, "The conventions are plain, linux"],
  [{ mode: "protected", gates: { 256: 0 } }, "vectors are whole numbers from 0 to 255"],
  [{ mode: "protected", gates: { 13: "nowhere" } }, "Cannot find the symbol nowhere"],
];

Deno.test.each(outOfOrder)("%o is refused", (options, message) => {
  try {
    boot(asm`hlt`, options)[Symbol.dispose]();
  } catch (error) {
    assert(error instanceof RangeError && error.message.includes(message), `${error}`);
    return;
  }
  throw new Error("it was not refused");
});
