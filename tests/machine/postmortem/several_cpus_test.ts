import { asm, boot, type Machine, requires } from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { type Postmortem, postmortemOf } from "../../../lib/machine/report/postmortem.ts";

const STEPS = { singleStep: true } as const;

/** The page of a guest that shuts down, without its line breaks, and what the repeated run has shown. */
function shutDown(vm: Machine): { message: string; found: Postmortem } {
  const { message } = assertThrows(() => vm.run(), Error, "it triple-faulted");
  const found = postmortemOf(vm)!;
  assert("cpu" in found, "obstacle" in found ? found.obstacle : undefined);
  return { message: message.replaceAll(/\s+/g, " "), found };
}

Deno.test(
  requires(
    STEPS,
    "the only CPU that has run is stepped from its start; the others are told in a line",
  ),
  () => {
    using vm = boot(
      asm`
      bits 32
      mov ebx, 5
      out 0x80, al
      lidt [zero]
      ud2
    zero: dq 0
    `,
      { cpus: 2, irqchip: true, ports: { 0x80: { write() {} } } },
    );
    const { message, found } = shutDown(vm);
    assertEquals([found.incident.registers.rbx, found.doubt], [5n, undefined]);
    assertMatch(message, /what happened #UD at 0008:1000e, `ud2`, several_cpus_test\.ts:\d+/);
    assertMatch(message, /IDTR \(base 0x0, limit 0x00\) was last written by `lidt/);
    assertStringIncludes(message, "CPU 0 at 0x1000e in 32-bit protected mode");
    assertStringIncludes(message, "the other CPUs CPU 1 at 0xfffffff0 waits for INIT");
  },
);

/** Two CPUs, each with its own code; what CPU 1 does, CPU 0 waits for. */
const TWO = asm`
  bits 32
  first:
    mov ebx, 0x10
    out 0x80, al
  wait_for_other:
    pause
    cmp dword [flag], 1
    jne wait_for_other
    out 0x81, al
    mov ecx, [flag]
    lidt [zero]
    ud2
  second:
    mov edx, 0x20
    out 0x82, al
    mov dword [flag], 1
    cli
    hlt
  align 4
  flag: dd 0
  zero: dq 0
`;

Deno.test(
  requires(STEPS, "CPUs that wait for each other are repeated, each exit by the one that made it"),
  () => {
    using vm = boot(TWO, {
      cpus: [{}, { entry: "second" }],
      ports: { 0x80: { write() {} }, 0x81: { write() {} }, 0x82: { write() {} } },
    });
    const { message, found } = shutDown(vm);
    const { incident: { instruction, registers }, doubt } = found;
    assertEquals([instruction.text, registers.rbx, registers.rcx, doubt], [
      "ud2",
      0x10n,
      1n,
      undefined,
    ]);
    assertMatch(message, /what happened #UD at 0008:\w+, `ud2`/);
    assertMatch(message, /the other CPUs CPU 1 at 0x\w+ .* halted/);
  },
);

Deno.test(requires(STEPS, "the CPU that fails need not be the first"), () => {
  using vm = boot(
    asm`
      bits 32
      first:
        out 0x80, al
        cli
        hlt
      second:
        mov edx, 0x20
        out 0x82, al
        mov esi, 0x30
        lidt [zero]
        ud2
      zero: dq 0
    `,
    {
      cpus: [{}, { entry: "second" }],
      ports: { 0x80: { write() {} }, 0x82: { write() {} } },
    },
  );
  const { message, found } = shutDown(vm);
  const { incident: { instruction, registers } } = found;
  assertEquals([instruction.text, registers.rdx, registers.rsi], ["ud2", 0x20n, 0x30n]);
  assertStringIncludes(message, "The guest shut down at exit");
  assertMatch(message, /CPU 1 at 0x\w+ in 32-bit protected mode/);
  assertMatch(message, /the other CPUs CPU 0 at 0x\w+ .* halted/);
});

Deno.test(
  requires(STEPS, "a CPU that another has started by INIT and SIPI is stepped where it fails"),
  () => {
    using vm = boot(
      asm`
      bits 32
      %include "../../../guests/interrupts/interrupts.inc"
      TRAMPOLINE equ 0x8000
      cli
      enable_apic
      mov esi, trampoline
      mov edi, TRAMPOLINE
      mov ecx, trampoline_end - trampoline
      rep movsb
      mov dword [APIC_ICR_LOW], APIC_TO_OTHERS | APIC_ASSERT | APIC_INIT
      mov dword [APIC_ICR_LOW], APIC_TO_OTHERS | APIC_ASSERT | APIC_STARTUP | TRAMPOLINE >> 12
    wait_for_it:
      pause
      cmp dword [0x9000], 1
      jne wait_for_it
      hlt
      bits 16
    trampoline:
      mov bx, 0x1234
      mov ax, 0x40
      lidt [cs:zero - trampoline]
      ud2
    zero: dq 0
    trampoline_end:
    `,
      { cpus: 2, irqchip: true },
    );
    const { message, found } = shutDown(vm);
    const { incident: { instruction, registers } } = found;
    assertEquals([instruction.text, registers.rbx, registers.rax], ["ud2", 0x1234n, 0x40n]);
    assertMatch(message, /the other CPUs CPU 0 at 0x\w+/);
  },
);

Deno.test("what several CPUs do not offer is refused with its reason", () => {
  using vm = boot(TWO, {
    cpus: [{}, { entry: "second" }],
    interleaving: { seed: 1 },
    ports: { 0x80: { write() {} }, 0x81: { write() {} }, 0x82: { write() {} } },
  });
  const { message } = assertThrows(() => vm.run(), Error, "it triple-faulted");
  assertStringIncludes(message, "could not be repeated: its CPUs are interleaved by a seed");
  assertThrows(
    () => vm.at(0),
    TypeError,
    "Cannot look at what was before: the machine has several CPUs",
  );
});
