import { assertEquals } from "@std/assert";
import { asm, boot, type BootOptions, requires } from "@vmexit/vmexit";
import { checkGuestState, checkVmrunState } from "@vmexit/vmexit/x86";
import { needsOf } from "../../modes/modes.ts";
import { stateInKvm } from "../state_in_kvm.ts";

/** Boots that differ in what VM entry looks at. */
const BOOTS: Readonly<Record<string, BootOptions>> = {
  "real mode": { mode: "real" },
  "real mode with a fault catcher": { mode: "real", memory: "4K", catchFaults: true },
  "real mode in one page": { mode: "real", memory: "4K" },
  "real mode at a boot sector's CS:IP": { mode: "real", cs: 0x7c0, ip: 0, load: 0x7c00 },
  "real mode at the reset vector's segment": {
    mode: "real",
    cs: 0xf000,
    ip: 0xfff0,
    load: 0xffff0,
  },
  "real mode with every segment elsewhere": {
    mode: "real",
    ds: 0x100,
    es: 0x200,
    fs: 0xffff,
    gs: 0x300,
    ss: 0x1000,
    sp: 0x10,
  },
  "unreal mode": { mode: "unreal" },
  "unreal mode with segments elsewhere": { mode: "unreal", ds: 0x100, es: 0x200, ss: 0x50 },
  "16-bit protected mode": { mode: "protected16" },
  "16-bit protected mode without tables in memory": {
    mode: "protected16",
    gdt: false,
    idt: false,
    tss: false,
  },
  "protected mode": { mode: "protected" },
  "protected mode without tables in memory": {
    mode: "protected",
    gdt: false,
    idt: false,
    tss: false,
  },
  "16-bit protected mode with a fault catcher": { mode: "protected16", catchFaults: true },
  "protected mode with a fault catcher": { mode: "protected", catchFaults: true },
  "protected mode at CPL 3": { mode: "protected", cpl: 3 },
  "protected mode at CPL 3 with closed ports": { mode: "protected", cpl: 3, ioPermission: false },
  "32-bit paging with 4 MiB pages": { mode: "paged" },
  "32-bit paging with 4 KiB pages": { mode: "paged", identityMap: "4K" },
  "32-bit paging at CPL 3": { mode: "paged", cpl: 3 },
  "PAE paging": { mode: "pae" },
  "PAE paging with 4 KiB pages": { mode: "pae", identityMap: "4K" },
  "PAE paging at CPL 3": { mode: "pae", cpl: 3 },
  "virtual-8086 mode": { mode: "virtual8086" },
  "virtual-8086 mode with every segment elsewhere": {
    mode: "virtual8086",
    cs: 0x1000,
    ip: 0,
    ds: 0x100,
    es: 0x200,
    fs: 0xffff,
    gs: 0x300,
    ss: 0x1000,
  },
  "virtual-8086 mode with a fault catcher": { mode: "virtual8086", catchFaults: true },
  "compatibility mode": { mode: "compatibility" },
  "compatibility mode at CPL 3": { mode: "compatibility", cpl: 3 },
  "long mode": { mode: "long" },
  "long mode with a fault catcher": { mode: "long", catchFaults: true },
  "long mode at CPL 3 with a fault catcher": { mode: "long", cpl: 3, catchFaults: true },
  "long mode at CPL 3": { mode: "long", cpl: 3 },
  "long mode at CPL 3 with 4 KiB pages": { mode: "long", cpl: 3, identityMap: "4K" },
  "long mode with 5 levels": { mode: "long", levels: 5 },
  "compatibility mode with 5 levels": { mode: "compatibility", levels: 5 },
  "the Linux convention": { mode: "long", convention: "linux" },
  "the unikernel convention": { mode: "long", convention: "unikernel" },
  "long mode with 4 KiB pages": { mode: "long", identityMap: "4K" },
  "long mode without tables in memory": { mode: "long", gdt: false, idt: false, tss: false },
  "long mode with the stack at the top of memory": { mode: "long", stack: 0x200000 },
  "long mode with other flags": { mode: "long", registers: { rflags: { if: true, iopl: 3 } } },
};

/** At CPL 3 a guest cannot execute HLT; the handler of int 0x80 does. */
function asksForHlt(options: BootOptions): boolean {
  return options.mode === "virtual8086" || ("cpl" in options && options.cpl === 3);
}

for (const [name, options] of Object.entries(BOOTS)) {
  const sentence = `${name} starts in a state that Intel's and AMD's checks accept, and runs`;
  Deno.test(requires(needsOf(options), sentence), () => {
    using vm = boot(asksForHlt(options) ? asm`int 0x80` : asm`hlt`, options);
    assertEquals(checkGuestState(stateInKvm(vm)), []);
    assertEquals(checkVmrunState(stateInKvm(vm)), []);
    assertEquals(vm.run().reason, "HLT");
    assertEquals(checkGuestState(stateInKvm(vm)), [], "after the run");
  });
}
