import { hlt, type LongOptions, mmioWrite, portIn, portOut, shutdown } from "../../mod.ts";
import type { Scenario } from "../../lib/cli/demo/scenario.ts";

const CONSOLE = 0x1000;
const DEVICE = 0x8000;
const DEVICE_LAST = 0x8007;
const GREETING = "Hello from Long Mode!\n";

/** 32 KiB: page tables in the first 16, what they map in the second, and one page of theirs outside of memory. */
const options: LongOptions = {
  mode: "long",
  memory: "32K",
  pageTables: { start: 0, end: 0x4000 },
  identityMap: false,
  mappings: [
    { linear: 0x0000, physical: 0x4000, size: 0x1000, writable: false },
    { linear: 0x1000, physical: 0x5000, size: 0x3000 },
    { linear: 0x4000, physical: DEVICE, size: 0x1000 },
  ],
  gdt: false,
  idt: false,
  tss: false,
  stack: 0x4000,
};

/** Guests in long mode whose linear addresses are not their physical ones. */
export const ownTables: readonly Scenario[] = [{
  name: "own-tables",
  title: "Long mode, its own page tables",
  sentence:
    "In 32 KiB, with linear 0x0000–0x3fff on physical 0x4000–0x7fff, a guest greets,\ntakes a byte, stores four at linear 0x2000, and writes to linear 0x4000, which\nis physical 0x8000: no memory.",
  guest: new URL("../long_mode_own_tables.asm", import.meta.url),
  options,
  ports: [[CONSOLE, { name: "console", write() {}, read: () => 0xaa }]],
  mmio: [[[DEVICE, DEVICE_LAST], { name: "device", write() {} }]],
  exits: [
    portOut(CONSOLE, GREETING, 1),
    portIn(CONSOLE, 1),
    mmioWrite(DEVICE, 0x11, 1),
    mmioWrite(DEVICE, 0x2211, 2),
    mmioWrite(DEVICE, 0x44332211, 4),
    mmioWrite(DEVICE, 0x8877665544332211n, 8),
    hlt(),
  ],
  end: "HLT",
  output: [[CONSOLE, GREETING]],
  registers: { rax: 0x8877665544332211n, rcx: 0, cr3: 0 },
  memory: [
    {
      what: "the four bytes, as stored",
      linear: true,
      at: 0x2000,
      content: [0x11, 0x22, 0x33, 0x44],
    },
    { what: "and where they are", at: 0x6000, content: [0x11, 0x22, 0x33, 0x44] },
    { what: "the byte that insb took", at: 0x7000, content: [0xaa] },
  ],
}, {
  name: "read-only-page",
  title: "Long mode, a page that is read-only",
  sentence:
    "In the same machine a guest writes to its second page, then to its first, which\nis read-only: a page fault, and without an IDT the end.",
  guest: new URL("../read_only_page.asm", import.meta.url),
  options,
  exits: [shutdown()],
  end: "SHUTDOWN",
  memory: [
    { what: "written: linear 0x1000", at: 0x5000, content: [0x55] },
    { what: "not written: linear 0x800", at: 0x4800, content: [0x00] },
  ],
}];
