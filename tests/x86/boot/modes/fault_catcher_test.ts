import { assertEquals } from "@std/assert";
import { type BootLayout, bootState } from "../../../../lib/x86/boot/boot_state.ts";
import type { CpuState } from "../../../../lib/x86/boot/cpu_state.ts";
import { exceptions } from "../../../../lib/x86/exceptions/exceptions.ts";
import { faultVector } from "../../../../lib/x86/boot/modes/fault_catcher.ts";

const STUB = [0xe6, 0xbe, 0xeb, 0xfc];

function bytesOf({ writes }: CpuState, what: string): Uint8Array<ArrayBuffer> {
  return writes.find((write) => write.what === what)!.bytes;
}

Deno.test("in real mode 64 vectors share a stub, and CS tells which it was", () => {
  const state = bootState({ mode: "real", catchFaults: true });
  assertEquals([...bytesOf(state, "fault stubs")], [...STUB, ...STUB, ...STUB, ...STUB]);
  const table = new Uint8Array(0x400);
  const written = state.writes.filter(({ what }) => what === "interrupt vectors");
  for (const { gpa, bytes } of written) table.set(bytes, gpa);
  assertEquals(written.map(({ gpa, isReplaceable }) => [gpa, isReplaceable]), [
    [0, undefined],
    [32 * 4, true],
  ]);
  const vectors = new DataView(table.buffer);
  for (let vector = 0; vector < 256; vector++) {
    const ip = vectors.getUint16(vector * 4, true);
    const cs = vectors.getUint16(vector * 4 + 2, true);
    const stub = cs * 16 + ip;
    assertEquals(stub, 0x4f0 + 4 * Math.floor(vector / 64));
    assertEquals(faultVector(state.faultCatcher!, BigInt(stub), cs), vector);
    assertEquals(faultVector(state.faultCatcher!, BigInt(stub + 2), cs), vector);
    assertEquals(faultVector(state.faultCatcher!, BigInt(stub + 1), cs), undefined);
  }
  assertEquals(faultVector(state.faultCatcher!, 0x4f2n, 0x50), undefined);
  assertEquals(faultVector(state.faultCatcher!, 0x4f2n, 0x0f), undefined);
  assertEquals(faultVector(state.faultCatcher!, 0x502n, 0x4f), undefined);
  assertEquals(faultVector(state.faultCatcher!, 0x4een, 0x4f), undefined);
});

Deno.test("elsewhere each vector has a stub and a gate, of which INT may use #BP's and #OF's at CPL 3", () => {
  for (const [mode, bits] of [["protected16", 16], ["protected", 32], ["long", 64]] as const) {
    const state = bootState({ mode, catchFaults: true } as BootLayout);
    assertEquals([...bytesOf(state, "fault stubs")], exceptions.flatMap(() => STUB));
    const size = bits === 64 ? 16 : 8;
    const idt = bytesOf(state, "IDT");
    for (const { vector } of exceptions) {
      const gate = idt.subarray(vector * size, vector * size + size);
      const handler = gate[0] | gate[1] << 8 | gate[6] << 16;
      assertEquals(faultVector(state.faultCatcher!, BigInt(handler + 2), 8), vector);
      assertEquals(gate[4], bits === 64 ? 1 : 0, "IST");
      assertEquals(gate[5] >> 4, [3, 4].includes(vector) ? 0xe : 0x8, "present, DPL");
    }
    assertEquals(idt.subarray(32 * size).every((byte) => byte === 0), true);
    assertEquals(faultVector(state.faultCatcher!, 0x527en, 8), undefined);
    assertEquals(faultVector(state.faultCatcher!, 0x5281n, 8), undefined);
    assertEquals(faultVector(state.faultCatcher!, 0x5303n, 8), undefined);
  }
});

Deno.test("the TSS has the stubs' stack in long mode, and CPL 0's everywhere", () => {
  const long = new DataView(bytesOf(bootState({ mode: "long", catchFaults: true }), "TSS").buffer);
  assertEquals([long.getBigUint64(36, true), long.getUint32(4, true)], [0x5400n, 0x6000]);
  const tss = bytesOf(bootState({ mode: "protected", catchFaults: true }), "TSS");
  const flat = new DataView(tss.buffer);
  assertEquals([flat.getUint32(4, true), flat.getUint16(8, true)], [0x6000, 0x10]);
});

Deno.test("gates that are given win over the catcher's", () => {
  const { writes } = bootState({ mode: "long", gates: { 6: 0x1_2345 }, catchFaults: true });
  const idt = writes.find(({ what }) => what === "IDT")!.bytes;
  assertEquals([...idt.subarray(6 * 16, 6 * 16 + 8)], [0x45, 0x23, 8, 0, 0, 0xee, 1, 0]);
});

Deno.test("without catchFaults nothing of it is there", () => {
  for (const mode of ["real", "protected", "long"] as const) {
    const state = bootState({ mode } as BootLayout);
    assertEquals([state.faultCatcher, state.writes.some(({ what }) => /fault/.test(what))], [
      undefined,
      false,
    ]);
  }
});
