import { assertEquals } from "@std/assert";
import {
  asm,
  boot,
  type BootOptions,
  checkGuestState,
  checkVmrunState,
  type GuestState,
  type Machine,
  type SegmentName,
  type SpecialRegisters,
} from "@vmexit/vmexit";

/** Boots that differ in what VM entry looks at. */
const BOOTS: Readonly<Record<string, BootOptions>> = {
  "real mode": { mode: "real" },
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
  "long mode": { mode: "long" },
  "long mode with 4 KiB pages": { mode: "long", identityMap: "4K" },
  "long mode without tables in memory": { mode: "long", gdt: false, idt: false, tss: false },
  "long mode with the stack at the top of memory": { mode: "long", stack: 0x200000 },
  "long mode with other flags": { mode: "long", registers: { rflags: { if: true, iopl: 3 } } },
};

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];

/** The state as KVM gives it back, not as the boot meant it. */
function stateInKvm({ registers }: Machine): GuestState {
  const special = {
    ...Object.fromEntries(SEGMENTS.map((name) => [name, { ...registers[name] }])),
    gdt: { ...registers.gdt },
    idt: { ...registers.idt },
    cr0: registers.cr0.value,
    cr2: registers.cr2,
    cr3: registers.cr3,
    cr4: registers.cr4.value,
    cr8: registers.cr8,
    efer: registers.efer.value,
    apic_base: registers.apic_base,
  };
  return {
    registers: { rip: registers.rip, rflags: registers.rflags.value },
    specialRegisters: special as SpecialRegisters,
  };
}

for (const [name, options] of Object.entries(BOOTS)) {
  Deno.test(`${name} starts in a state that Intel's and AMD's checks accept, and runs`, () => {
    using vm = boot(asm`hlt`, options);
    assertEquals(checkGuestState(stateInKvm(vm)), []);
    assertEquals(checkVmrunState(stateInKvm(vm)), []);
    assertEquals(vm.run().reason, "HLT");
    assertEquals(checkGuestState(stateInKvm(vm)), [], "after the run");
  });
}
