import { hlt, type Machine, mmioRead, portOut } from "../../mod.ts";
import { LONG_MODE, PORT } from "../../lib/x86/mod.ts";
import type { ExpectedMemory, Scenario } from "../../lib/cli/demo/scenario.ts";

const DEVICE = 0x200000;
const GREETING = "Hello, console!\n";

const UNTOUCHED = 0xfe;
const STACK_END = 0x10000;
const PUSHED = 2 * 8;
const STACK = new Uint8Array(STACK_END - LONG_MODE.morePageTablesEnd).fill(UNTOUCHED);

/** A guest in long mode as it is by default, in large and in small pages. */
export const longModePages: readonly Scenario[] = [{
  ...defaultMachine(),
  name: "pages-2m",
  title: "Long mode from 2 MiB pages",
  sentence:
    "Tables at 0x1000, GDT at 0x5000, stack below 0x10000, code at 0x10000: a guest\ngreets on its serial line, asks a device, and pushes what it says.",
  options: { mode: "long", identityMap: "2M" },
  memory: [
    ...tables(),
    { what: "PDE: 2 MiB at 0, used", at: 0x3000, content: [0xe3, 0, 0, 0, 0, 0, 0, 0] },
    ...descriptorsAndStack(),
  ],
}, {
  ...defaultMachine(),
  name: "pages-4k",
  title: "Long mode from 4 KiB pages",
  sentence: "The same guest, with 4 KiB pages for the first 2 MiB.",
  options: { mode: "long", identityMap: "4K" },
  memory: [
    ...tables(),
    { what: "PDE, to the PT at 0x4000", at: 0x3000, content: [0x23, 0x40, 0, 0, 0, 0, 0, 0] },
    { what: "PTE of the code, read", at: 0x4080, content: [0x23, 0, 1, 0, 0, 0, 0, 0] },
    ...descriptorsAndStack(),
  ],
}];

function defaultMachine() {
  return {
    guest: new URL("../long_mode_pages.asm", import.meta.url),
    prepare: (vm: Machine) => vm.memory.write(LONG_MODE.morePageTablesEnd, STACK),
    mmio: [[DEVICE, { name: "device", read: () => 0x12 }]],
    exits: [portOut(PORT.com1, GREETING, 1), mmioRead(DEVICE, 1), hlt()],
    end: "HLT",
    output: [[PORT.com1, GREETING]],
    registers: { rax: 0x12, rsp: STACK_END - PUSHED, cr3: 0x1000 },
  } as const;
}

function tables(): ExpectedMemory[] {
  return [
    { what: "PML4E, to the PDPT at 0x2000", at: 0x1000, content: [0x23, 0x20, 0, 0, 0, 0, 0, 0] },
    { what: "PDPTE, to the PD at 0x3000", at: 0x2000, content: [0x23, 0x30, 0, 0, 0, 0, 0, 0] },
  ];
}

function descriptorsAndStack(): ExpectedMemory[] {
  return [
    { what: "GDT: null", at: 0x5000, content: [0, 0, 0, 0, 0, 0, 0, 0] },
    { what: "GDT: 64-bit code", at: 0x5008, content: [0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0] },
    { what: "GDT: data", at: 0x5010, content: [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0] },
    { what: "GDT: TSS at 0x5100, …", at: 0x5018, content: [0x67, 0, 0, 0x51, 0, 0x8b, 0, 0] },
    { what: "… which takes two slots", at: 0x5020, content: [0, 0, 0, 0, 0, 0, 0, 0] },
    {
      what: "stack, never used",
      at: LONG_MODE.morePageTablesEnd,
      content: STACK.subarray(PUSHED),
    },
    {
      what: "stack: pushed last",
      at: 0xfff0,
      content: [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
    },
    { what: "stack: what the device said", at: 0xfff8, content: [0x12, 0, 0, 0, 0, 0, 0, 0] },
    { what: "code: its first instruction", at: 0x10000, content: [0x48, 0x8d, 0x35] },
  ];
}
