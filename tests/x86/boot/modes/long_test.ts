import { assert, assertEquals, assertThrows } from "@std/assert";
import type { CpuState } from "../../../../lib/x86/boot/cpu_state.ts";
import { cr0Flags, cr4Flags, eferFlags } from "../../../../lib/x86/registers/flag_tables.ts";
import { flagNames } from "../../../../lib/x86/registers/flags.ts";
import { checkGuestState } from "../../../../lib/x86/entry_checks/guest_state_checks.ts";
import { type LongLayout, longMode } from "../../../../lib/x86/boot/modes/long.ts";
import { type PageWalk, walkPageTables } from "../../../../lib/x86/paging/page_walk.ts";
import { descriptorToSegment } from "../../../../lib/x86/registers/segment.ts";
import { checkVmrunState } from "../../../../lib/x86/entry_checks/vmrun_checks.ts";
import { memoryOf } from "../../memory_of.ts";

const GIB = 2 ** 30;

/** A guest with 32 KiB of memory that brings its own mappings and has no descriptor tables in memory. */
const ownTables: LongLayout = {
  memorySize: 0x8000,
  pageTables: 0,
  identityMap: false,
  gdt: false,
  idt: false,
  tss: false,
  entry: 0,
  stack: 0x4000,
  mappings: [
    { linear: 0, physical: 0x4000, size: 0x1000, writable: false },
    { linear: 0x1000, physical: 0x5000, size: 0x3000 },
    { linear: 0x4000, physical: 0x8000, size: 0x1000 },
  ],
};

function walk({ specialRegisters, writes }: CpuState, linear: number | bigint): PageWalk {
  return walkPageTables({ cr3: specialRegisters.cr3, linear, read: memoryOf(writes) });
}

function physical(state: CpuState, linear: number | bigint): number | undefined {
  const { result } = walk(state, linear);
  return "physical" in result ? result.physical : undefined;
}

function places({ writes }: CpuState): [string, number, number][] {
  return writes.map(({ what, gpa, bytes }) => [what, gpa, bytes.length]);
}

Deno.test("long mode has its tables where the layout says", () => {
  assertEquals(places(longMode()), [
    ["PML4", 0x1000, 0x1000],
    ["PDPT of linear 0x0", 0x2000, 0x1000],
    ["PD of linear 0x0", 0x3000, 0x1000],
    ["GDT", 0x5000, 0x28],
    ["TSS", 0x5100, 104],
    ["IDT", 0x6000, 0x1000],
  ]);
});

Deno.test("with 4 KiB pages in the first 2 MiB there is a PT at 0x4000, and the rest stays as it was", () => {
  const state = longMode({ identityMap: "4K" });
  assertEquals(places(state)[3], ["PT of linear 0x0", 0x4000, 0x1000]);
  const sizes = [0, 0x1f_ffff, 0x20_0000, GIB - 1].map((linear) => {
    const { result } = walk(state, linear);
    assert("physical" in result);
    assertEquals(result.physical, linear);
    return result.pageSize;
  });
  assertEquals(sizes, ["4K", "4K", "2M", "2M"]);
  assertEquals(physical(state, GIB), undefined);
});

Deno.test("with a 1 GiB page two tables are enough", () => {
  const state = longMode({ identityMap: "1G" });
  assertEquals(places(state).slice(0, 3).map(([what]) => what), [
    "PML4",
    "PDPT of linear 0x0",
    "GDT",
  ]);
  assertEquals(physical(state, GIB - 1), GIB - 1);
});

Deno.test("registers: at 0x10000 with the stack below it, interrupts off", () => {
  const { mode, registers, specialRegisters } = longMode();
  assertEquals(mode, "long");
  assertEquals(registers, { rip: 0x10000n, rsp: 0x10000n, rflags: 2n });
  assertEquals(flagNames(cr0Flags, specialRegisters.cr0), ["PE", "ET", "NE", "WP", "PG"]);
  assertEquals(flagNames(cr4Flags, specialRegisters.cr4), ["PAE", "OSFXSR", "OSXMMEXCPT"]);
  assertEquals(flagNames(eferFlags, specialRegisters.efer), ["LME", "LMA", "NXE"]);
  assertEquals(specialRegisters.gdt, { base: 0x5000n, limit: 0x27 });
  assertEquals(specialRegisters.idt, { base: 0x6000n, limit: 0xfff });
  assertEquals([specialRegisters.tr.base, specialRegisters.tr.limit], [0x5100n, 103]);
});

Deno.test("every segment register holds what the GDT has under its selector", () => {
  const { specialRegisters, writes } = longMode();
  const gdt = writes.find(({ what }) => what === "GDT")!.bytes;
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss", "tr"] as const) {
    const { selector } = specialRegisters[name];
    const descriptor = gdt.subarray(selector, selector + (name === "tr" ? 16 : 8));
    assertEquals(specialRegisters[name], descriptorToSegment(descriptor, selector));
  }
  assertEquals(gdt.subarray(0, 8), new Uint8Array(8));
});

Deno.test("a guest with its own tables has them and nothing else in memory", () => {
  const state = longMode(ownTables);
  assertEquals(places(state).map(([what, gpa]) => [what, gpa]), [
    ["PML4", 0],
    ["PDPT of linear 0x0", 0x1000],
    ["PD of linear 0x0", 0x2000],
    ["PT of linear 0x0", 0x3000],
  ]);
  assertEquals([physical(state, 0), physical(state, 0x2000), physical(state, 0x4000)], [
    0x4000,
    0x6000,
    0x8000,
  ]);
  assertEquals(physical(state, 0x5000), undefined);
  const { result } = walk(state, 0);
  assert("physical" in result);
  assertEquals(result.writable, false);
  const { gdt, idt, tr, cs } = state.specialRegisters;
  assertEquals([gdt, idt], [{ base: 0n, limit: 0 }, { base: 0n, limit: 0 }]);
  assertEquals([tr.base, tr.limit], [0n, 0]);
  assertEquals([cs.l, cs.present, state.registers.rip, state.registers.rsp], [1, 1, 0n, 0x4000n]);
});

Deno.test("a mapping takes the place of the identity map where it lies, and only there", () => {
  const state = longMode({
    mappings: [
      { linear: 0x30_0000, physical: 0x8000, size: 0x1000, writable: false },
      { linear: 0x50_0000, size: 0x1000, present: false },
    ],
  });
  assertEquals(physical(state, 0x2f_ffff), 0x2f_ffff);
  assertEquals(physical(state, 0x30_0123), 0x8123);
  assertEquals(physical(state, 0x30_1000), 0x30_1000);
  assertEquals(physical(state, 0x4f_ffff), 0x4f_ffff);
  assertEquals(walk(state, 0x50_0000).result, { fault: "not-present", level: "PTE" });
  assertEquals(physical(state, 0x50_1000), 0x50_1000);
  assertEquals(physical(state, 0), 0);
  assertEquals(physical(state, GIB - 1), GIB - 1);
});

Deno.test("a mapping may begin in the identity map and end beyond it", () => {
  const state = longMode({ mappings: [{ linear: GIB - 0x1000, physical: 0, size: 0x2000 }] });
  assertEquals(physical(state, GIB - 0x1001), GIB - 0x1001);
  assertEquals(physical(state, GIB - 0x1000), 0);
  assertEquals(physical(state, GIB), 0x1000);
});

Deno.test("a mapping in the upper half is added to the identity map, in the second area of tables", () => {
  const linear = 0xffff_ffff_8000_0000n;
  const state = longMode({ mappings: [{ linear, physical: 0x1_0000, size: 0x1000 }] });
  assertEquals(physical(state, linear), 0x1_0000);
  assertEquals(physical(state, 0x1_0000), 0x1_0000);
  assertEquals(places(state).slice(3, 6).map(([, gpa]) => gpa), [0x4000, 0x7000, 0x8000]);
});

Deno.test("page tables may be given an area of their own", () => {
  const state = longMode({ pageTables: { start: 0x10_0000, end: 0x10_3000 } });
  assertEquals(state.specialRegisters.cr3, 0x10_0000n);
  assertThrows(
    () => longMode({ pageTables: { start: 0x10_0000, end: 0x10_2000 } }),
    RangeError,
    "Cannot place the PD of linear 0x0",
  );
});

const sound: Record<string, LongLayout> = {
  "the default": {},
  "4 KiB pages": { identityMap: "4K" },
  "a 1 GiB page": { identityMap: "1G" },
  "its own tables": ownTables,
  "no TSS": { tss: false },
  "no GDT": { gdt: false },
  "no IDT": { idt: false },
  "everything elsewhere": { pageTables: 0x1_0000, gdt: 0x9000, idt: 0xa000, tss: 0xb000 },
  "an entry in the upper half": { entry: 0xffff_8000_0000_0000n, stack: 0xffff_ffff_ffff_fff8n },
};

Deno.test.each(Object.entries(sound))(
  "the state with %s passes all checks of VM entry",
  (_name, layout) => {
    assertEquals(checkGuestState(longMode(layout)), []);
    assertEquals(checkGuestState({ ...longMode(layout), unrestrictedGuest: false }), []);
    assertEquals(checkVmrunState(longMode(layout)), []);
  },
);

Deno.test("without a TSS the GDT has no descriptor of one", () => {
  assertEquals(longMode({ tss: false }).specialRegisters.gdt.limit, 0x17);
});

Deno.test("the GDT, TSS and IDT are these bytes", () => {
  const { writes } = longMode();
  const quadwords = (
    name: string,
  ) => [...new BigUint64Array(writes.find(({ what }) => what === name)!.bytes.buffer)];
  assertEquals(quadwords("GDT"), [
    0n,
    0x00af_9b00_0000_ffffn,
    0x00cf_9300_0000_ffffn,
    0x0000_8b00_5100_0067n,
    0n,
  ]);
  // The last word is the offset of the I/O permission map: past the limit, so there is none.
  assertEquals(quadwords("TSS"), [...new Array(12).fill(0n), 0x0068_0000_0000_0000n]);
  assertEquals(quadwords("IDT"), new Array(512).fill(0n));
});

Deno.test("LDTR is as after the null selector was loaded", () => {
  const { ldt } = longMode().specialRegisters;
  assertEquals(ldt, descriptorToSegment(0n, 0));
});

Deno.test("two boot states share nothing that could be changed", () => {
  const [one, two] = [longMode(), longMode()];
  one.writes[0].bytes.fill(0xff);
  one.specialRegisters.ds.selector = 1;
  one.specialRegisters.interrupt_bitmap[0] = 1n;
  assertEquals([one.specialRegisters.es.selector, one.specialRegisters.ss.selector], [0x10, 0x10]);
  assertEquals(two, longMode());
});

const refused: [layout: LongLayout, messages: string[]][] = [
  [{ pageTables: 0x4000 }, ["the PDPT of linear 0x0 at 0x5000", "the GDT at 0x5000"]],
  [{ gdt: 0x5100 }, ["the TSS at 0x5100", "the GDT at 0x5100"]],
  [{ idt: 0x4fff }, ["the GDT at 0x5000", "the IDT at 0x4fff"]],
  [{ memorySize: 0x6000 }, ["Cannot place the IDT", "the memory ends at 0x6000"]],
  [{ pageTables: 0, memorySize: 0x2000 }, ["Cannot place the PD of linear 0x0"]],
  [{ pageTables: 0x123 }, ["Cannot place page tables at 0x123"]],
  [{ gdt: -8 }, ["Cannot place the GDT at -8"]],
  [{ entry: 0x8000_0000_0000n }, ["Cannot set entry as 0x800000000000: it is not a canonical"]],
  [{ stack: -8 }, ["Cannot set stack as -0x8"]],
  [{ entry: 0.5 }, ["Cannot set entry as 0.5"]],
  [{ mappings: [{ linear: 0x10, size: 0x1000 }] }, ["0x10 is not a multiple of 0x1000"]],
  [{
    mappings: [{ linear: 0, size: 0x2000 }, { linear: 0x1000, size: 0x1000 }],
  }, ["overlaps the mapping of linear 0x0–0x1fff"]],
];

Deno.test.each(refused)("%o is refused", (layout, messages) => {
  const error = assertThrows(() => longMode(layout), RangeError);
  for (const message of messages) assert(error.message.includes(message), error.message);
});
