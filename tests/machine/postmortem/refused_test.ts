import { asm, boot, type BootOptions, type Guest, type Machine, requires } from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

const STEPS = { singleStep: true } as const;

/** What the page of a guest that cannot go on says of why, without its line breaks. */
function happened(guest: Guest, options: BootOptions = {}, run = (vm: Machine) => void vm.run()) {
  using vm = boot(guest, { ...options, mode: "protected" } as BootOptions);
  const { message } = assertThrows(() => run(vm), Error);
  assertMatch(message, /^Nothing answers exit \d: (INTERNAL_ERROR EMULATION|FAIL_ENTRY)/);
  const [, told = ""] = message.split("\nwhat happened\n");
  return told.split("\nguest at")[0].replaceAll(/\s+/g, " ").trim();
}

Deno.test(
  requires(STEPS, "KVM cannot deliver an exception: by an IDT that lies in no memory"),
  () => {
    const told = happened(asm`
    lidt [idtr]
    ud2
  idtr: dw 0x7ff
        dd 0xd0000000
  `);
    assertMatch(
      told,
      /^#UD at 0008:10007, `ud2`, .*: it is there to raise #UD #UD cannot be delivered: entry 6 of the IDT, at 0xd0000030, lies where there is no memory IDTR \(base 0xd0000000, limit 0x7ff\) was last written by `lidt \[dword 0x10009\]` at 0x10000, .*, from 0x10009, idtr \(refused_test\.ts:\d+\)$/,
    );
  },
);

Deno.test(
  requires(STEPS, "KVM cannot deliver an exception: its frame would lie in no memory"),
  () => {
    const told = happened(
      asm`
      mov esp, 0xd0000010
      int3
    handler:
      iret
    `,
      { gates: { 3: "handler" } },
    );
    assertMatch(
      told,
      /^#BP at 0008:10005, `int3`, .*: it raises #BP #BP cannot be delivered: its frame would lie at 0xd0000004, by SS:rSP 0x0010:0xd0000010, where there is no memory RSP \(0xd0000010\) was last written by `mov esp,0xd0000010` at 0x10000, refused_test\.ts:\d+$/,
    );
  },
);

Deno.test(requires(STEPS, "KVM cannot carry out an instruction: its operand is no memory"), () => {
  const told = happened(asm`
    fninit
    fild dword [0xd0000000]
  `);
  assertEquals(
    told,
    "The operand by DS = 0x0010 (base 0x0) lies at 0xd0000000, where there is no memory",
  );
});

Deno.test(
  requires(STEPS, "an entry that the CPU refuses is shown where the guest was to go on"),
  () => {
    using vm = boot(
      asm`
      bits 64
      out 0x80, al
      nop
      hlt
    `,
      { ports: { 0x80: { write: () => vm.registers.set({ cs: { l: 1, db: 1 } }) } } },
    );
    const { message } = assertThrows(() => vm.run(), Error);
    assertMatch(message, /^Nothing answers exit 2: FAIL_ENTRY/);
    assertStringIncludes(message, "CS: l and db are 1 (AMD APM Vol. 2, 15.5.1)");
    assertStringIncludes(message, "As a rule no guest brings itself there");
    // QEMU leaves the low bits of its own instruction pointer in the guest's.
    assertStringIncludes(message, "\nguest at 0x10002 in 64-bit mode\n");
    assertEquals(message.includes("outside of the guest's image"), false);
  },
);
