import { PciBus, piix } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Access,
  bootAccesses,
  in32,
  in8,
  out32,
  out8,
  perform,
  read8,
  write8,
} from "../accesses.ts";
import { ADDRESS, DATA, read } from "./toy.ts";

const ROM = 0xf_0000;
const OPTION_ROM = 0xc_8000;
const PAM = 0x59;

/** A PC with ROM of one letter at 0xf0000, and of another at 0xc8000; nothing lies between. */
function bootPc(bus: PciBus = new PciBus([])): ReturnType<typeof bootAccesses> {
  return bootAccesses({
    memory: { size: "2M", holes: "PC" },
    slots: [
      { gpa: ROM, size: "64K", readonly: true, content: new Uint8Array(0x1_0000).fill(0xf0) },
      { gpa: OPTION_ROM, size: "16K", readonly: true, content: new Uint8Array(0x4000).fill(0xc8) },
    ],
    unclaimed: "open-bus",
    devices: [bus],
  });
}

/** Writes one of the PAM registers. */
function pam(index: number, value: number): Access[] {
  const register = PAM + index;
  return [out32(ADDRESS, 0x8000_0000 + (register & ~3)), out8(DATA + (register & 3), value)];
}

Deno.test("firmware copies itself into RAM behind it, shows that, and makes it read-only", () => {
  const bus = new PciBus([]);
  using vm = bootPc(bus);
  const last = (...accesses: Access[]) => perform(vm, accesses).at(-1)! & 0xff;
  assertEquals(last(write8(ROM, 1), read8(ROM)), 0xf0);
  // Writes reach RAM, reads the ROM.
  assertEquals(last(...pam(0, 0x20), write8(ROM, 2), write8(0xf_f000, 3), read8(ROM)), 0xf0);
  assertEquals(last(...pam(0, 0x10), read8(ROM)), 2);
  assertEquals(last(write8(ROM, 4), read8(ROM)), 2);
  assertEquals(last(...pam(0, 0x30), write8(ROM, 5), read8(ROM)), 5);
  assertEquals(last(read8(0xf_f000)), 3);
  // The test sees what the guest does.
  assertEquals(vm.memory.u8(ROM), 5);
  bus.reset();
  assertEquals(last(read8(ROM)), 0xf0);
  assertEquals(last(...pam(0, 0x10), read8(ROM)), 5);
  const state = structuredClone(bus.save());
  bus.reset();
  bus.restore(state);
  assertEquals(last(read8(ROM)), 5);
});

Deno.test("RAM shows where there is no ROM, and RAM that is there anyway stays", () => {
  using vm = bootPc();
  const last = (...accesses: Access[]) => perform(vm, accesses).at(-1)! & 0xff;
  assertEquals(last(write8(0xe_0000, 1), read8(0xe_0000)), 0xff);
  assertEquals(last(...pam(5, 0x03), write8(0xe_0000, 1), read8(0xe_0000)), 1);
  // The next segment has the upper half.
  assertEquals(last(write8(0xe_4000, 1), read8(0xe_4000)), 0xff);
  using whole = bootAccesses({ devices: [new PciBus([])] });
  assertEquals(
    perform(whole, [write8(0xe_0000, 7), ...pam(5, 0x00), read8(0xe_0000), ...pam(5, 0x33)])
      .at(3)! & 0xff,
    7,
  );
});

Deno.test("any PAM registers, as a model of the chip has it", () => {
  const segments = Array.from({ length: 16 }, (_, index) => 0xc_0000 + index * 0x4000);
  /** What of a segment the registers say: bits 0 and 1 of a nibble. */
  const bitsOf = (registers: readonly number[], index: number) =>
    index >= 12 ? registers[0] >> 4 : registers[1 + (index >> 1)] >> (index & 1) * 4;
  const romOf = (index: number) => index >= 12 ? 0xf0 : index === 2 ? 0xc8 : 0xff;
  const action = fc.oneof(
    fc.record({ pam: fc.nat(6), value: fc.nat(255) }),
    fc.record({ write: fc.nat(15), value: fc.nat(255) }),
  );
  fc.assert(
    fc.property(fc.array(action, { minLength: 30, maxLength: 60 }), (actions) => {
      using vm = bootPc();
      const registers: number[] = Array(7).fill(0);
      const ram: number[] = Array(16).fill(0);
      for (const each of actions) {
        if ("pam" in each) {
          perform(vm, pam(each.pam, each.value));
          registers[each.pam] = each.value;
        } else {
          perform(vm, [write8(segments[each.write] + 0x123, each.value)]);
          if ((bitsOf(registers, each.write) & 2) !== 0) ram[each.write] = each.value;
        }
        const found = perform(vm, segments.map((gpa) => read8(gpa + 0x123))).map((at) => at & 0xff);
        const model = segments.map((_, index) => {
          if ((bitsOf(registers, index) & 1) !== 0) return ram[index];
          return romOf(index);
        });
        assertEquals(found, model);
      }
    }),
    { numRuns: 5 },
  );
});

Deno.test("the south bridge shows its functions, whose registers keep what is written", () => {
  using vm = bootPc(new PciBus([piix()], { resources: "unassigned" }));
  const word = (place: number, register: number) =>
    perform(vm, [out32(ADDRESS, 0x8000_0000 + place * 0x100 + register), in32(DATA)]).at(-1)!;
  const places = [0x08, 0x09, 0x0a, 0x0b];
  assertEquals(places.map((place) => word(place, 0) >>> 0), [
    0x7000_8086,
    0x7010_8086,
    0xffff_ffff,
    0x7113_8086,
  ]);
  assertEquals(places.map((place) => word(place, 8) >>> 8), [
    0x06_0100,
    0x01_0100,
    0xff_ffff,
    0x06_8000,
  ]);
  // The header says that there are several functions.
  assertEquals(perform(vm, [...read(1, 0x0c), in8(DATA + 2)]).at(-1)! & 0xff, 0x80);
  // PIRQA# is not routed at first; PMBA stays an I/O base.
  assertEquals(word(0x08, 0x60) & 0xff, 0x80);
  perform(vm, [out32(ADDRESS, 0x8000_0b40), out32(DATA, 0xffff_ffff)]);
  assertEquals(word(0x0b, 0x40), 0xffc1);
});
