import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  checkGuestState,
  checkVmrunState,
  type CpuState,
  linuxKernelEntry,
  memoryMap,
  multiboot2Entry,
  multibootEntry,
  pvhEntry,
} from "@vmexit/vmexit/x86";
import { resetEntry } from "../../../lib/x86/boot/modes/reset.ts";
import { BootMemory } from "../../../lib/x86/boot/protocols/memory_map.ts";

const MIB = 2 ** 20;
const header = new Uint8Array(0x80);
new DataView(header.buffer).setUint32(0x22c - 0x1f1, 0x7fff_ffff, true);
new DataView(header.buffer).setUint32(0x238 - 0x1f1, 2047, true);

const layout = {
  entry: 0x10_0000,
  ram: [{ gpa: 0, size: 16 * MIB }],
  kernel: [{ what: "kernel", gpa: 0x10_0000, size: 0x8000 }],
  commandLine: "a b",
  modules: [{ bytes: new Uint8Array(5000), commandLine: "m" }],
};

const STATES: Readonly<Record<string, CpuState>> = {
  multiboot: multibootEntry({ ...layout, textScreen: true }),
  multiboot2: multiboot2Entry({ ...layout, textScreen: true, loadBase: 0x10_0000 }),
  pvh: pvhEntry(layout),
  "linux, 32 bits": linuxKernelEntry({ ...layout, bits: 32, header, initrd: new Uint8Array(9) }),
  "linux, 64 bits": linuxKernelEntry({ ...layout, bits: 64, header, initrd: new Uint8Array(9) }),
  reset: resetEntry(),
};

for (const [name, { registers, specialRegisters, writes }] of Object.entries(STATES)) {
  Deno.test(`processors of both vendors enter the state in which ${name} starts`, () => {
    const state = { registers, specialRegisters };
    // KVM sets NE for VMX by itself, which the processor has clear after reset.
    const cr0Fixed0 = name === "reset" ? 0n : undefined;
    assertEquals(checkGuestState({ ...state, cr0Fixed0 }), []);
    assertEquals(checkVmrunState(state), []);
  });

  Deno.test(`what ${name} is told lies in RAM, apart from the kernel and from each other`, () => {
    const ranges = [...writes.map(({ gpa, bytes }) => ({ gpa, size: bytes.length }))];
    if (!name.startsWith("reset")) ranges.push(layout.kernel[0]);
    const sorted = ranges.sort((a, b) => a.gpa - b.gpa);
    for (const [index, { gpa }] of sorted.slice(1).entries()) {
      assert(sorted[index].gpa + sorted[index].size <= gpa);
    }
    assert(sorted.every(({ gpa, size }) => gpa + size <= 0x9_fc00 || gpa >= 0x10_0000));
  });
}

Deno.test("a memory map has RAM without a PC's adapters, joined, and what is reserved", () => {
  const available = (base: number, length: number) => ({ base, length, type: 1 });
  assertEquals(memoryMap({ ram: [] }), []);
  assertEquals(memoryMap({ ram: [{ gpa: 0x5000, size: 0x1000 }] }), [available(0x5000, 0x1000)]);
  assertEquals(memoryMap({ ram: [{ gpa: 0xa_0000, size: 0x6_0000 }] }), []);
  assertEquals(
    memoryMap({
      ram: [{ gpa: MIB, size: MIB }, { gpa: 0, size: 0xa_0000 }, { gpa: 2 * MIB, size: MIB }],
      reserved: [{ gpa: 0xf_0000, size: 0x1_0000 }],
    }),
    [
      available(0, 0x9_fc00),
      { base: 0xf_0000, length: 0x1_0000, type: 2 },
      available(MIB, 2 * MIB),
    ],
  );
  assertEquals(memoryMap({ ram: [{ gpa: 2 ** 32, size: MIB }] }), [available(2 ** 32, MIB)]);
});

Deno.test("places for boot information are in RAM, aligned, and apart, or there are none", () => {
  const range = fc.record({ gpa: fc.nat(64), size: fc.integer({ min: 1, max: 64 }) })
    .map(({ gpa, size }) => ({ gpa: gpa * 0x1_0000, size: size * 0x1_0000 }));
  const room = fc.record({
    size: fc.nat(0x4_0000),
    align: fc.constantFrom(1, 8, 4096),
    from: fc.nat(0x20_0000),
    below: fc.nat(0x60_0000),
    highest: fc.boolean(),
  });
  fc.assert(fc.property(range, range, fc.array(room, { maxLength: 12 }), (ram, kernel, rooms) => {
    const memory = new BootMemory({ ram: [ram] }, [kernel]);
    const taken = [kernel];
    for (const { size, align, from, below, highest } of rooms) {
      let gpa: number;
      try {
        gpa = memory.take("thing", size, { align, from, below, highest });
      } catch (error) {
        assert(error instanceof RangeError && error.message.startsWith("Cannot place the thing"));
        continue;
      }
      assert(gpa % align === 0 && gpa >= from && gpa + size <= below);
      assert(gpa >= ram.gpa && gpa + size <= ram.gpa + ram.size);
      assert(taken.every((each) => gpa >= each.gpa + each.size || gpa + size <= each.gpa));
      if (size > 0) taken.push({ gpa, size });
    }
  }));
});

Deno.test("what does not fit is refused by its name", () => {
  const ram = [{ gpa: 0, size: 0x2000 }];
  assertThrows(
    () => multibootEntry({ ...layout, ram, commandLine: "x".repeat(0x2000) }),
    RangeError,
    "Cannot place the module 0",
  );
  assertThrows(
    () => multibootEntry({ ...layout, ram, modules: [], commandLine: "x".repeat(0x2000) }),
    RangeError,
    "Cannot place the command line",
  );
});
