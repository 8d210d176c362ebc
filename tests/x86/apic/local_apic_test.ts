import { localApicState } from "@vmexit/vmexit/x86";
import { assertEquals } from "@std/assert";

/** A page of registers: values by their offset. */
function page(registers: Readonly<Record<number, number>>): Uint8Array {
  const view = new DataView(new ArrayBuffer(0x400));
  for (const [offset, value] of Object.entries(registers)) {
    view.setUint32(Number(offset), value, true);
  }
  return new Uint8Array(view.buffer);
}

Deno.test("a local APIC's registers are read from where the manual has them", () => {
  const state = localApicState(page({
    0x20: 3 << 24,
    0x30: 0x0105_0014,
    0x80: 0x60,
    0xa0: 0x70,
    0xf0: 0x1ef,
    0x100: 1 << 31,
    0x190: 1,
    0x200: 0x10000,
    0x270: 1 << 31 | 1,
    0x280: 0x40,
    0x300: 0xc4500,
    0x310: 0x1000000,
    0x320: 0x20041,
    0x330: 0x10200,
    0x340: 0x10400,
    0x350: 0x700,
    0x360: 0x400,
    0x370: 0xfe,
    0x380: 1000,
    0x390: 10,
    0x3e0: 0b1011,
  }));
  assertEquals(state, {
    id: 3,
    version: 0x14,
    enabled: true,
    spuriousVector: 0xef,
    tpr: 0x60,
    ppr: 0x70,
    irr: [16, 224, 255],
    isr: [31],
    tmr: [32],
    esr: 0x40,
    icr: 0x1000000_000c4500n,
    lvt: {
      timer: { vector: 0x41, deliveryMode: "fixed", masked: false },
      thermal: { vector: 0, deliveryMode: "SMI", masked: true },
      performance: { vector: 0, deliveryMode: "NMI", masked: true },
      lint0: { vector: 0, deliveryMode: "ExtINT", masked: false },
      lint1: { vector: 0, deliveryMode: "NMI", masked: false },
      error: { vector: 0xfe, deliveryMode: "fixed", masked: false },
    },
    timer: { mode: "periodic", initialCount: 1000, currentCount: 10, divide: 1 },
  });
});

Deno.test("the timer's divider is the one that its three bits stand for", () => {
  const dividers = [0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011]
    .map((bits) => localApicState(page({ 0x3e0: bits })).timer.divide);
  assertEquals(dividers, [2, 4, 8, 16, 32, 64, 128, 1]);
});
