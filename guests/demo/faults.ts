import { fault, hlt, mmioWrite, shutdown } from "../../mod.ts";
import type { Scenario } from "../../lib/cli/demo/scenario.ts";

const HOLE = 0x200000;
const ROM = 0x10000;

/** Guests that do what a guest should not. */
export const faults: readonly Scenario[] = [{
  name: "triple-fault",
  title: "A triple fault",
  sentence: "An exception, and an IDT too short to handle it.",
  guest: new URL("../triple_fault.asm", import.meta.url),
  options: {},
  exits: [shutdown()],
  end: "SHUTDOWN",
}, {
  name: "page-fault",
  title: "A page fault",
  sentence: "A guest with a fault catcher: the fault says what it was, where, and why.",
  guest: new URL("../page_fault.asm", import.meta.url),
  options: { catchFaults: true, mappings: [{ linear: HOLE, size: 0x200000, present: false }] },
  exits: [fault("#PF", { errorCode: 0x2, cr2: HOLE, rip: "stray" })],
  end: "fault",
  registers: { bl: 0x55, rax: HOLE },
}, {
  name: "endless-loop",
  title: "An endless loop",
  sentence: "A guest that never exits, until the time limit stops it where it is.",
  guest: new URL("../endless_loop.asm", import.meta.url),
  options: { timeout: 50 },
  exits: [],
  end: "time limit",
}, {
  name: "read-only-memory",
  title: "A write to read-only memory",
  sentence:
    "A guest reads a ROM at 0x10000, writes to it, which is an MMIO exit, and reads\nit again.",
  guest: new URL("../read_only_memory.asm", import.meta.url),
  options: {
    memory: "64K",
    slots: [{ gpa: ROM, size: "4K", readonly: true, content: "ROM" }],
  },
  mmio: [[ROM, { name: "ROM", write() {} }]],
  exits: [mmioWrite(ROM, 0x55, 1), hlt()],
  end: "HLT",
  registers: { bl: 0x52, cl: 0x52 },
  memory: [{ what: '"ROM", as before', at: ROM, content: "ROM" }],
}, {
  name: "garbage",
  title: "Garbage",
  sentence: "Bytes that are no instruction: #UD, which nothing handles.",
  guest: new URL("../garbage.asm", import.meta.url),
  options: {},
  exits: [shutdown()],
  end: "SHUTDOWN",
}];
