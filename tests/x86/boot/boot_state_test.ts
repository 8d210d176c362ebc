import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type BootLayout,
  bootState,
  type Convention,
  conventionDefaults,
  modeDefaults,
} from "../../../lib/x86/boot/boot_state.ts";
import type { CpuState, Mode } from "../../../lib/x86/boot/cpu_state.ts";
import { getFlag } from "../../../lib/x86/registers/flags.ts";
import { rflagsFlags } from "../../../lib/x86/registers/flag_tables.ts";
import { checkGuestState } from "../../../lib/x86/entry_checks/guest_state_checks.ts";
import { pagingModeOf } from "../../../lib/x86/paging/page_levels.ts";
import { descriptorToSegment } from "../../../lib/x86/registers/segment.ts";
import { checkVmrunState } from "../../../lib/x86/entry_checks/vmrun_checks.ts";
import { memoryOf } from "../memory_of.ts";

const layouts: readonly BootLayout[] = [
  { mode: "real" },
  { mode: "unreal" },
  { mode: "unreal", ds: 0x100, ss: 0x200 },
  { mode: "protected16" },
  { mode: "protected" },
  { mode: "protected", cpl: 3 },
  { mode: "protected", cpl: 3, ioPermission: false, gates: { 0x80: 0x1_0000 } },
  { mode: "protected", gdt: false, idt: false, tss: false },
  { mode: "paged" },
  { mode: "paged", identityMap: "4K" },
  { mode: "paged", cpl: 3, mappings: [{ linear: 0x1000_0000, physical: 0, size: 0x1000 }] },
  { mode: "pae" },
  { mode: "pae", identityMap: "4K" },
  { mode: "pae", cpl: 3 },
  { mode: "virtual8086" },
  { mode: "virtual8086", cs: 0x1234, ip: 5, ds: 0xffff },
  { mode: "compatibility" },
  { mode: "compatibility", cpl: 3 },
  { mode: "compatibility", levels: 5 },
  { mode: "long" },
  { mode: "long", cpl: 3 },
  { mode: "long", levels: 5 },
  { mode: "long", convention: "linux" },
  { mode: "long", convention: "unikernel" },
  { mode: "real", catchFaults: true },
  { mode: "unreal", catchFaults: true },
  { mode: "protected16", catchFaults: true },
  { mode: "protected", catchFaults: true },
  { mode: "paged", cpl: 3, catchFaults: true },
  { mode: "pae", catchFaults: true },
  { mode: "virtual8086", catchFaults: true },
  { mode: "compatibility", catchFaults: true },
  { mode: "long", cpl: 3, catchFaults: true },
  { mode: "long", levels: 5, catchFaults: true },
  { mode: "long", convention: "unikernel", catchFaults: true },
];

Deno.test.each(layouts)("%o is a sound state, of the mode that it is asked for", (layout) => {
  const state = { ...bootState(layout) };
  assertEquals(state.mode, layout.mode);
  const readable = { ...state, read: memoryOf(state.writes) };
  assertEquals(checkGuestState(readable), []);
  assertEquals(checkVmrunState(readable), []);
});

Deno.test.each(layouts)("%o starts where the defaults say", (layout) => {
  const { mode, convention } = layout as { mode: Mode; convention?: Convention };
  if ("cs" in layout) return;
  const { code } = convention === undefined ? modeDefaults[mode] : conventionDefaults[convention];
  const { registers, specialRegisters } = bootState(layout);
  assertEquals(specialRegisters.cs.base + registers.rip!, BigInt(code));
});

/** What tells the modes apart, as the CPU does. */
function modeOf({ registers, specialRegisters }: CpuState): string {
  const { cs, ds, cr0, efer } = specialRegisters;
  if ((cr0 & 1n) === 0n) return ds.limit > 0xffff ? "unreal" : "real";
  if (getFlag(rflagsFlags, "vm", registers.rflags!)) return "virtual8086";
  if ((efer & 0x400n) !== 0n) return cs.l ? "long" : "compatibility";
  if (!cs.db) return "protected16";
  return { "32-bit": "paged", PAE: "pae", none: "protected" }[
    pagingModeOf(specialRegisters) as "PAE" ?? "none"
  ];
}

Deno.test("the state's registers are those of its mode and of no other", () => {
  for (const layout of layouts) assertEquals(modeOf(bootState(layout)), layout.mode);
});

Deno.test("every segment register holds what the GDT has under its selector", () => {
  for (const layout of layouts) {
    const { specialRegisters, writes } = bootState(layout);
    const gdt = writes.find(({ what }) => what === "GDT")?.bytes;
    if (gdt === undefined || layout.mode === "virtual8086") continue;
    for (const name of ["cs", "ds", "es", "fs", "gs", "ss", "tr"] as const) {
      const { selector } = specialRegisters[name];
      const offset = selector & ~3;
      const isWideTask = name === "tr" && "gates" in layout === false && gdt.length > 0x20 &&
        ["long", "compatibility"].includes(layout.mode);
      const descriptor = gdt.subarray(offset, offset + (isWideTask ? 16 : 8));
      assertEquals(specialRegisters[name], descriptorToSegment(descriptor, selector));
    }
  }
});

Deno.test("at CPL 3 the TSS has a stack for CPL 0 and opens the ports, and int 0x80 has a handler", () => {
  const { writes, specialRegisters } = bootState({ mode: "protected", cpl: 3 });
  const tss = writes.find(({ what }) => what === "TSS")!;
  assertEquals([tss.gpa, tss.bytes.length], [0xc000, 104 + 8192 + 1]);
  const view = new DataView(tss.bytes.buffer);
  assertEquals([view.getUint32(4, true), view.getUint16(8, true), view.getUint16(102, true)], [
    0x6000,
    0x10,
    104,
  ]);
  assertEquals(tss.bytes.at(-1), 0xff);
  assertEquals(specialRegisters.tr.limit, tss.bytes.length - 1);
  const idt = writes.find(({ what }) => what === "IDT")!;
  // Offset 0x5200, selector 8, a 32-bit interrupt gate of DPL 3.
  assertEquals([...idt.bytes.subarray(0x80 * 8, 0x81 * 8)], [0, 0x52, 8, 0, 0, 0xee, 0, 0]);
  const handler = writes.find(({ what }) => what === "handler of int 0x80")!;
  assertEquals([handler.gpa, [...handler.bytes]], [0x5200, [0xf4, 0xcf]] as unknown[]);
});

Deno.test("in long mode gates have 16 bytes, and a stack of 64 bits", () => {
  const { writes } = bootState({ mode: "long", cpl: 3, gates: { 13: 0xffff_8000_1234_5678n } });
  const idt = writes.find(({ what }) => what === "IDT")!;
  assertEquals([...idt.bytes.subarray(13 * 16, 14 * 16)], [
    ...[0x78, 0x56, 8, 0, 0, 0xee, 0x34, 0x12],
    ...[0x00, 0x80, 0xff, 0xff, 0, 0, 0, 0],
  ]);
  const tss = writes.find(({ what }) => what === "TSS")!;
  assertEquals(new DataView(tss.bytes.buffer).getBigUint64(4, true), 0x6000n);
});

Deno.test("at CPL 3 the identity map's pages are user pages, at CPL 0 they are not", () => {
  for (const cpl of [0, 3] as const) {
    const { writes } = bootState({ mode: "paged", cpl });
    const entry = new DataView(writes[0].bytes.buffer).getUint32(0, true);
    assertEquals(entry & 0x4, cpl === 3 ? 0x4 : 0);
  }
});

const refused: [layout: BootLayout, message: string][] = [
  [{ mode: "protected", entry: 2 ** 32 }, "Cannot set entry as 0x100000000: it has 32 bits"],
  [{ mode: "protected", stack: -4 }, "Cannot set stack as -0x4"],
  [{ mode: "protected16", entry: 0x1_0000 }, "it has 16 bits"],
  [{ mode: "protected16", gates: { 13: 0x1_0000 } }, "an address of 16 bits"],
  [{ mode: "protected", gates: { 256: 0 } }, "vectors are whole numbers from 0 to 255"],
  [{ mode: "protected", gates: { 3: 0.5 } }, "to 0.5: it is not an address"],
  [{ mode: "protected", tss: 0x5008 }, "Cannot place the TSS"],
  [{ mode: "virtual8086", cs: 0x1_0000 }, "Cannot set cs"],
  [{ mode: "virtual8086", memorySize: 0x2000 }, "the memory ends at 0x2000"],
  [{ mode: "paged", pageTables: 0x5000 }, "the PD at 0x5000"],
  [{ mode: "long", levels: 6 as 5 }, "there are 4 and 5"],
  [{ mode: "long", cpl: 1 as 3 }, "machines start at 0 or at 3"],
  [{ mode: "long", entry: 1n << 47n }, "not a canonical"],
  [{ mode: "long", convention: "unikernel", cpuNumber: -1 }, "Cannot start CPU -1"],
  [{ mode: "long", convention: "linux", memorySize: 0x8000 }, "Cannot place the PML4"],
];

Deno.test.each(refused)("%o is refused", (layout, message) => {
  assertThrows(() => bootState(layout), RangeError, message);
});

Deno.test("with 5 levels an entry of 57 bits is canonical", () => {
  const { registers } = bootState({ mode: "long", levels: 5, entry: 1n << 50n });
  assertEquals(registers.rip, 1n << 50n);
  assert(registers.rsp! > 0n);
});
