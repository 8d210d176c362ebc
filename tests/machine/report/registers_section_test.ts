import { assertEquals, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  GuestFaultError,
  type Machine,
  type MachineCpu,
  modes,
  TimeLimitError,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";

/** The rows of a page's registers, without those of the general ones. */
function specialRows(vm: Machine): string[] {
  const lines = statePage(vm).split("\n");
  const start = lines.findIndex((line) => line.startsWith("    rip "));
  const end = lines.findIndex((line, index) => index > start && !line.startsWith("    "));
  return lines.slice(start + 1, end);
}

const UNCHANGED = [
  ...modes(),
  ...modes([
    { mode: "real", catchFaults: true, cs: 0x50, ip: 0, ds: 0x123, load: 0x500 },
    { mode: "long", cpl: 3, catchFaults: true },
    { mode: "long", levels: 5 },
    { mode: "long", convention: "linux" },
    { mode: "protected", cpl: 3 },
    { mode: "protected", gdt: false, idt: false, tss: false },
  ]),
  ...modes([{ mode: "long", msrs: { FS_BASE: 0x1234, EFER: 0xd01 } }])
    .map((each) => ({ ...each, name: "long, MSRs" })),
  ...modes([
    { mode: "long", registers: { "cr4.pge": true, "fs.base": 0x5678n, ldt: { base: 0x40n } } },
  ]).map((each) => ({ ...each, name: "long, registers" })),
];

Deno.test.each(UNCHANGED)(
  "a guest that only stops has changed no segment, table or control register: $name",
  ({
    options,
  }) => {
    using vm = boot(asm`out 0x80, al`, options);
    const { value } = vm.exits().next();
    assertEquals(value?.exit.reason, "IO");
    assertEquals(specialRows(vm), []);
    assertEquals(statePage(vm).includes("    none\n    rip "), true);
  },
);

Deno.test("the page has the segments, tables and control registers that a guest has changed on its way to protected mode", () => {
  using vm = boot(
    asm`
  begin:
    lgdt [gdtr]
    lidt [idtr]
    mov eax, cr0
    or  al, 1
    mov cr0, eax
    jmp 0x08:start
    bits 32
  start:
    mov eax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 0x18
    mov gs, ax
    mov fs, [null]
    mov eax, 0x20
    ltr ax
    mov eax, 0x600
    mov cr4, eax
    mov eax, 0x1234000
    mov cr3, eax
    hlt
    align 8
  null: dq 0
  gdt:
    dq 0
    dq 0x00cf9a000000ffff     ; 0x08: code
    dq 0x00cf92000000ffff     ; 0x10: data
    dq 0x0000940005000fff     ; 0x18: data, read-only, expand-down
    dq 0x0000890006000067     ; 0x20: TSS
  gdtr: dw 39
    dd gdt
  idtr: dw 0
    dd 0
  `,
    { mode: "real", entry: "begin" },
  );
  vm.run();
  const gdt = `0x${vm.image.symbol("gdt").toString(16)}`;
  assertEquals(specialRows(vm), [
    "    cs     0x8 base 0x0 limit 0xffffffff, 32-bit code",
    "    ds es  0x10 base 0x0 limit 0xffffffff, data",
    "    fs     0x0 null",
    "    gs     0x18 base 0x500 limit 0xfff, data, read-only, expand-down",
    "    ss     0x10 base 0x0 limit 0xffffffff, 32-bit stack",
    "    tr     0x20 base 0x600 limit 0x67",
    `    gdtr   base ${gdt} limit 0x27`,
    "    idtr   base 0x0 limit 0x0",
    "    cr0    0x31 (PE ET NE)",
    "    cr4    0x600 (OSFXSR OSXMMEXCPT)",
    "    cr3    0x1234000",
  ]);
});

Deno.test("the page has EFER, LDTR and the base of FS that 64-bit code has changed", () => {
  using vm = boot(asm`
    bits 64
    mov ecx, 0xc0000080         ; EFER
    rdmsr
    or  eax, 1                  ; SCE
    wrmsr
    mov ecx, 0xc0000100         ; FS_BASE
    mov eax, 0x5678
    xor edx, edx
    wrmsr
    lgdt [gdtr]
    mov ax, 0x10
    lldt ax
    xor eax, eax
    mov es, ax
    hlt
    align 8
  descriptors:
    dq 0, 0, 0x0000820030000027, 0
  gdtr: dw 31
    dq descriptors
  `);
  vm.run();
  const { base, limit } = vm.registers.gdt;
  assertEquals(specialRows(vm), [
    "    es    0x0 null",
    "    fs    0x10 base 0x5678 limit 0xffffffff, data",
    "    ldtr  0x10 base 0x3000 limit 0x27",
    `    gdtr  base 0x${base.toString(16)} limit 0x${limit.toString(16)}`,
    "    efer  0xd01 (SCE LME LMA NXE)",
  ]);
});

/** RFLAGS on the page, with the names of its flags. */
function rflagsText(vm: MachineCpu): string | undefined {
  return /rip 0x[0-9a-f]+, rflags (.*)$/m.exec(statePage(vm))?.[1];
}

Deno.test("TF by which KVM steps a guest is not the guest's: it shows at no stop", () => {
  const guest = asm`
      stc
    here:
      nop
      out 0x80, al
    there:
      nop
      in al, 0x81
      hlt
  `;
  using vm = boot(guest, { timeout: 50 });
  vm.ports.on(0x80, { write() {} });
  vm.step();
  assertEquals(rflagsText(vm), "0x3 (CF)");
  using here = vm.debug.breakAt("here", { by: "step" });
  using there = vm.debug.breakAt("there", { by: "step" });
  vm.registers.rip = vm.image.entry;
  for (const { address } of [here, there]) {
    assertEquals(vm.run().reason, "DEBUG");
    assertEquals([vm.registers.rip, rflagsText(vm)], [address, "0x3 (CF)"]);
  }
  assertThrows(() => vm.run(), UnhandledExitError, "IO in 0x81");
  assertEquals(rflagsText(vm), "0x3 (CF)");
  vm.answer(0);
  assertEquals([vm.run().reason, rflagsText(vm)], ["HLT", "0x3 (CF)"]);
  assertEquals(here.hits + there.hits, 2);
});

Deno.test("TF by which instructions are counted does not show, at the time limit neither", () => {
  using vm = boot(
    asm`
      stc
    again:
      jmp again
    `,
    { cpus: [{}, {}], interleaving: { seed: 1 }, timeout: 10 },
  );
  const { message } = assertThrows(() => vm.run(), TimeLimitError);
  assertEquals(/rflags (.*)$/m.exec(message)?.[1], "0x3 (CF)");
  for (const cpu of vm.cpus) assertEquals(rflagsText(cpu), "0x3 (CF)");
});

Deno.test("TF that the guest has set itself shows", () => {
  using vm = boot(
    asm`
    push 0x103
    popf
    nop
  `,
    { catchFaults: true },
  );
  assertThrows(() => vm.run(), GuestFaultError, "#DB");
  assertEquals(rflagsText(vm), "0x103 (CF TF)");
});
