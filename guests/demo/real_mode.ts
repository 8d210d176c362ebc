import { hlt, mmioRead, mmioWrite, portIn, portOut } from "../../mod.ts";
import type { Scenario } from "../../lib/cli/demo/scenario.ts";

const CONSOLE = 0x1000;
const NOWHERE = 0x2000;
const GREETING = "Hello from Real Mode!\n";

/** A guest in real mode that causes every kind of exit. */
export const realMode: readonly Scenario[] = [{
  name: "real-mode",
  title: "Real mode, every kind of exit",
  sentence:
    "In 4 KiB of memory a guest greets, takes a byte, writes it where there is no\nmemory, reads from there, and halts.",
  guest: new URL("../real_mode.asm", import.meta.url),
  options: { mode: "real", memory: "4K" },
  ports: [[CONSOLE, { name: "console", write() {}, read: () => 0xaa }]],
  mmio: [[NOWHERE, { name: "device", write() {}, read: () => 0xbb }]],
  exits: [
    portOut(CONSOLE, GREETING, 1),
    portIn(CONSOLE, 1),
    mmioWrite(NOWHERE, 0xaa, 1),
    mmioRead(NOWHERE, 1),
    hlt(),
  ],
  end: "HLT",
  output: [[CONSOLE, GREETING]],
  registers: { al: 0xbb, cx: 0, dx: CONSOLE },
  memory: [{ what: "the byte that insb took", at: "answer", content: [0xaa] }],
}];
