import { asm, boot, type BootOptions, type Guest, requires } from "@vmexit/vmexit";
import { assert, assertEquals } from "@std/assert";
import { postmortemOf } from "../../../lib/machine/report/postmortem.ts";

/** Guests that shut down where single steps alone do not lead: what fails, by which exception, and registers then. */
const GUESTS: readonly {
  readonly name: string;
  readonly guest: Guest;
  readonly options?: BootOptions;
  readonly text: string;
  readonly vector: number;
  readonly registers?: Readonly<Record<string, bigint>>;
}[] = [
  {
    name: "behind a string instruction that repeats",
    guest: asm`
      mov cx, 0x4000
      mov di, 0x2000
      rep stosb
      lidt [zero]
      ud2
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
    registers: { rcx: 0n, rdi: 0x6000n },
  },
  {
    name: "at the address that DR0 to DR3 have where nothing is in them",
    guest: asm`
      mov byte [0], 0x90
      mov word [1], 0x0b0f
      lidt [zero]
      jmp 0:0
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
    registers: { rip: 1n },
  },
  {
    name: "behind six million rounds of a loop in another one",
    guest: asm`
      mov bx, 100
    outer:
      mov cx, 60000
      loop $
      call f
      dec bx
      jnz outer
      lidt [zero]
      ud2
    f:
      inc dx
      ret
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
    registers: { rbx: 0n, rdx: 100n },
  },
  {
    name: "in a loop's 95,000th round",
    guest: asm`
      bits 32
      mov ecx, 100000
      xor edx, edx
    next:
      mov eax, ecx
      lea ebx, [eax - 5000]
      div ebx
      xor edx, edx
      dec ecx
      jnz next
      hlt
    `,
    options: { mode: "protected", idt: false },
    text: "div ebx",
    vector: 0,
    registers: { rcx: 5000n },
  },
  {
    name: "in a loop's 20th round, in which the guest has another IDT each time",
    guest: asm`
      mov cx, 40
    next:
      lidt [zero]
      mov ax, cx
      sub ax, 20
      mov bl, al
      mov ax, 1
      div bl
      loop next
      hlt
    zero: dq 0
    `,
    text: "div bl",
    vector: 0,
    registers: { rcx: 20n },
  },
  {
    name: "in the handler of an int",
    guest: asm`
      mov word [0x21 * 4], handler
      mov word [0x21 * 4 + 2], cs
      int 0x21
      hlt
    handler:
      mov bx, 6
      lidt [zero]
      ud2
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
    registers: { rbx: 6n },
  },
  {
    name: "in the handler of an exception",
    guest: asm`
      mov word [0], handler
      mov word [2], cs
      div cl
      hlt
    handler:
      mov bx, 6
      lidt [zero]
      ud2
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
    registers: { rbx: 6n },
  },
  {
    name: "behind mov ss",
    guest: asm`
      lidt [zero]
      mov ax, 0
      mov ss, ax
      ud2
    zero: dq 0
    `,
    text: "ud2",
    vector: 6,
  },
];

for (const { name, guest, options, text, vector, registers = {} } of GUESTS) {
  Deno.test(requires({ singleStep: true }, `the instruction that failed is found ${name}`), () => {
    using vm = boot(guest, { memory: "8M", ...options });
    vm.run({ until: "shutdown" });
    const result = postmortemOf(vm)!;
    assert("cpu" in result, "obstacle" in result ? result.obstacle : undefined);
    const { incident } = result;
    assertEquals([incident.instruction.text, incident.exception?.vector], [text, vector]);
    const expected = { ...incident.registers, ...registers };
    assertEquals(incident.registers, expected as typeof incident.registers);
  });
}
