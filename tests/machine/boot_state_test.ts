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
  "protected mode at CPL 3": { mode: "protected", cpl: 3 },
  "protected mode at CPL 3 with closed ports": { mode: "protected", cpl: 3, ports: false },
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
  "compatibility mode": { mode: "compatibility" },
  "compatibility mode at CPL 3": { mode: "compatibility", cpl: 3 },
  "long mode": { mode: "long" },
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

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];

/** At CPL 3 a guest cannot execute HLT; the handler of int 0x80 does. */
function asksForHlt(options: BootOptions): boolean {
  return options.mode === "virtual8086" || ("cpl" in options && options.cpl === 3);
}

/** The state as KVM gives it back, not as the boot meant it. */
function stateInKvm({ registers, memory }: Machine): GuestState {
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
    read: (gpa) => memory.u64(gpa),
  };
}

for (const [name, options] of Object.entries(BOOTS)) {
  Deno.test(`${name} starts in a state that Intel's and AMD's checks accept, and runs`, () => {
    using vm = boot(asksForHlt(options) ? asm`int 0x80` : asm`hlt`, options);
    assertEquals(checkGuestState(stateInKvm(vm)), []);
    assertEquals(checkVmrunState(stateInKvm(vm)), []);
    assertEquals(vm.run().reason, "HLT");
    assertEquals(checkGuestState(stateInKvm(vm)), [], "after the run");
  });
}
