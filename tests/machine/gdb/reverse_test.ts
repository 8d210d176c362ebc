import { asm, boot, type Machine, requires } from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { gdb } from "./run_gdb.ts";

const STEPS = { singleStep: true } as const;

/** What gdb printed of `print` and `x/i`, without numbers and spaces. */
const prints = (said: readonly string[]) =>
  said.filter((line) => /^(\$\d+ = |=> )/.test(line))
    .map((line) => line.replace(/^\$\d+ = /, "").replace(/^=> \S+\s+/, "").replace(/\s+/g, " "));

/** A guest of each width whose counter a loop, a routine, and one more instruction write. */
const writers = (bits: 16 | 32 | 64) =>
  asm`
  bits ${bits}
    mov ecx, 3
    mov ebx, 0x9000
  again:
    inc dword [ebx]
    out 0x80, al
    loop again
    call routine
    mov edx, 7
    out 0x80, al
    hlt
    nop
  routine:
    add dword [ebx], 0x10
    ret
`;

function machine(bits: 16 | 32 | 64): Machine {
  const vm = boot(writers(bits), { memory: "1M" });
  vm.ports.on(0x80, { write() {} });
  return vm;
}

for (const bits of [16, 32, 64] as const) {
  Deno.test(requires(STEPS, `reverse-continue to who wrote last, in ${bits} bits`), async () => {
    using vm = machine(bits);
    const said = await gdb(vm, [
      "continue",
      "watch *(int *)0x9000",
      "reverse-continue",
      "x/i $pc",
      "print *(int *)0x9000",
      "reverse-continue",
      "x/i $pc",
      "print *(int *)0x9000",
      "monitor when",
      "delete",
      "stepi",
      "print *(int *)0x9000",
      "reverse-stepi",
      "print *(int *)0x9000",
      "reverse-continue",
      "print/x $pc",
      "reverse-stepi",
      "stepi",
      "continue",
      "print/x $edx",
      "monitor when",
      "detach",
    ]);
    const text = said.join("\n");
    assertEquals(prints(said), [
      "addl $0x10,(%ebx)",
      "3",
      "incl (%ebx)",
      "2",
      "3",
      "2",
      `0x${vm.bootRegisters.rip.toString(16)}`,
      "0x7",
    ], text);
    assertStringIncludes(text, "Old value = 19\nNew value = 3");
    assertStringIncludes(text, "the past: 1 instruction behind exit 2 of 5");
    assertEquals(text.match(/No more reverse-execution history/g)?.length, 3, text);
    assertStringIncludes(text, "the present: behind exit 5");
    // The guest is where it was.
    assertEquals([vm.lastExit?.reason, vm.registers.edx], ["HLT", 7]);
  });
}
Deno.test(
  requires(STEPS, "backwards from a triple fault, by breakpoints and instructions"),
  async () => {
    using vm = boot(
      asm`
    bits 32
    mov eax, 5
  before:
    inc eax
    lidt [none]
    inc eax
  fatal:
    ud2
    none: dd 0, 0
  `,
      { memory: "1M" },
    );
    assertThrows(() => vm.run(), Error, "it triple-faulted");
    const at = (label: string) => `0x${vm.image.symbol(label).toString(16)}`;
    const said = await gdb(vm, [
      `break *${at("before")}`,
      "reverse-stepi",
      "x/i $pc",
      "print $eax",
      "reverse-continue",
      "x/i $pc",
      "print $eax",
      "continue",
      "detach",
    ]);
    assertEquals(prints(said), ["ud2", "7", "inc %eax", "5"], said.join("\n"));
    assertStringIncludes(said.join("\n"), "Breakpoint 1, ");
    assertEquals(vm.lastExit?.reason, "SHUTDOWN");
  },
);

Deno.test(
  requires(STEPS, "back from where gdb itself has stopped the guest, and on from there, live"),
  async () => {
    using vm = machine(32);
    const at = (label: string) => `0x${vm.image.symbol(label).toString(16)}`;
    const said = await gdb(vm, [
      `break *${at("routine")}`,
      "continue",
      "stepi",
      "print *(int *)0x9000",
      "reverse-stepi",
      "reverse-stepi",
      "x/i $pc",
      "print *(int *)0x9000",
      "monitor answer 1",
      "monitor exits",
      "print $edx",
      "delete",
      "continue",
      "print *(int *)0x9000",
      "set *(int *)0x9000 = 0x55",
      "continue",
      "print $edx",
      "detach",
    ]);
    const text = said.join("\n");
    const [, call] = prints(said);
    assertEquals(call, `call ${at("routine")}`, text);
    assertStringIncludes(text, "Cannot answer what has been");
    assertEquals([vm.registers.edx, vm.memory.u8(0x9000)], [7, 0x55], text);
  },
);

Deno.test(
  requires(STEPS, "what cannot be gone back to is said in words, and the guest stays where it is"),
  async (t) => {
    const ways: Record<string, [make: () => Machine, commands: string[], why: string]> = {
      "several CPUs": [
        () =>
          boot(
            asm`nop
        hlt`,
            { cpus: 2 },
          ),
        ["stepi"],
        "has several CPUs",
      ],
      "a guest that asks for the time": [
        () => {
          const vm = boot(asm`
          rdtsc
          mov [0x900], eax
          out 0x80, eax
          inc bx
          hlt
        `);
          vm.ports.on(0x80, { write() {} });
          return vm;
        },
        ["continue"],
        "it went another way: exit 1 was IO out 0x80 dword",
      ],
    };
    for (const [what, [make, commands, why]] of Object.entries(ways)) {
      await t.step(what, async () => {
        using vm = make();
        const said = await gdb(vm, [
          ...commands,
          "print/x $pc",
          "reverse-continue",
          "print/x $pc",
          "reverse-stepi",
          "detach",
        ]);
        const text = said.join("\n");
        assertStringIncludes(text, why);
        const [before, after] = prints(said);
        assertEquals(after, before, text);
      });
    }
  },
);
