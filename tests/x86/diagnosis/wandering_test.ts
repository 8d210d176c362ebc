import { assertEquals, assertStringIncludes } from "@std/assert";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";
import { explainStop } from "../../../lib/x86/diagnosis/explain_incident.ts";
import { chainOf, type Given, incidentOf, stepOf } from "./incident_of.ts";

const realState = bootState({ mode: "real" }).specialRegisters;
const protectedState = bootState({ mode: "protected" }).specialRegisters;
const LONG: Given["layout"] = { mode: "long" };
const GDT = 0x5000;

/** The guest has names in its code only. */
const named = (linear: bigint) =>
  linear >= 0x1_0000n && linear < 0x1_0100n
    ? `start+${linear - 0x1_0000n} (boot.asm:7)`
    : undefined;

/** The way before an incident, and what the chain must say of it. */
const WAYS: Readonly<Record<string, Given & { says: readonly string[] }>> = {
  "zeros behind the code": {
    text: "add [eax],al",
    bytes: [0, 0],
    registers: { rip: 0x1_0108n, rax: 0x4000_0000n },
    steps: [
      stepOf("cli", 0x1_00ffn),
      ...[0x1_0100n, 0x1_0102n, 0x1_0104n, 0x1_0106n].map((at) => stepOf("add [eax],al", at)),
    ],
    says: [
      "The CPU executes zeros (`add [eax],al`), which are no code, from 0x10100 on; it ran on into them behind `cli` at 0x100ff, start+255 (boot.asm:7)",
      "there is no memory",
    ],
  },
  "a jump through a null pointer": {
    text: "db 0xff",
    bytes: [0xff, 0xff],
    registers: { rip: 0n },
    steps: [stepOf("jmp eax", 0x1_0010n)],
    says: ["It came there by `jmp eax` at 0x10010, start+16 (boot.asm:7), to 0x0: a null pointer"],
  },
  "a return by a stack that nobody wrote": {
    text: "db 0xff",
    bytes: [0xff, 0xff],
    registers: { rip: 0x4000n },
    steps: [stepOf("ret", 0x1_0010n, { rsp: 0x9000n })],
    says: ["took its address from the stack at 0x9000", "no instruction that is known wrote it"],
  },
  "a return by a slot that was written": {
    text: "db 0xff",
    bytes: [0xff, 0xff],
    registers: { rip: 0x4000n },
    steps: [
      stepOf("mov [dword 0x9000],eax", 0x1_0008n),
      stepOf("ret", 0x1_0010n, { rsp: 0x9000n }),
    ],
    says: ["it was written by `mov [dword 0x9000],eax` at 0x10008"],
  },
  "a stack in the code": {
    text: "db 0xff",
    bytes: [0xff],
    steps: [stepOf("push eax", 0x1_0020n, { rsp: 0x1_0004n })],
    says: [
      "The instruction's bytes were written by `push eax` at 0x10020",
      "the stack lies in the code",
    ],
  },
  "a far jump before PE was set": {
    layout: { mode: "real" },
    text: "db 0x0f",
    bytes: [0x0f],
    registers: { rip: 0x7c40n },
    special: {
      gdt: { base: 0x5000n, limit: 0x17 },
      cs: { ...realState.cs, selector: 8, base: 0x80n },
    },
    memory: [[GDT + 8, 0x00cf_9a00_0000_ffffn]],
    steps: [stepOf("jmp 0x8:0x7c40", 0x1_0010n, {}, realState)],
    says: [
      "`jmp 0x8:0x7c40` at 0x10010, start+16 (boot.asm:7) was executed in real mode, as CR0.PE = 0",
      "CS = 0x0008 in real mode (CR0.PE = 0) has base 0x80",
    ],
  },
  "no far jump after PE was set": {
    layout: { mode: "real" },
    text: "db 0x0f",
    bytes: [0x0f],
    special: { cr0: realState.cr0 | 1n },
    registers: { rip: 0x1_0012n },
    steps: [stepOf("mov cr0,eax", 0x1_0010n, {}, realState)],
    says: ["CR0.PE was set by `mov cr0,eax` at 0x10010", "no far jump has loaded CS since"],
  },
  "code of another width than its source": {
    text: "int3",
    special: { cs: { ...protectedState.cs, db: 0 } },
    registers: { rip: 0x1_0009n },
    memory: [[GDT + 8, 0x008f_9b00_0000_ffffn]],
    steps: [stepOf("mov sp,0x7c00", 0x1_0004n), stepOf("add [bx+si],al", 0x1_0007n)],
    source: (linear) => linear === 0x1_0004n ? { text: "mov esp, 0x7c00", length: 5 } : undefined,
    says: [
      "`mov esp, 0x7c00` at 0x10004, start+4 (boot.asm:7) became 5 bytes, and the CPU took 3 there, as `mov sp,0x7c00`",
      "GDT[1] at 0x5008",
      "16-bit code",
    ],
  },
  "a data segment whose base differs": {
    text: "ud2",
    special: { ds: { ...protectedState.ds, base: 0x10n } },
    memory: [[GDT + 0x10, 0x00cf_9300_0010_ffffn]],
    says: [
      "DS = 0x0010: GDT[2] at 0x5010 is ff ff 10 00 00 93 cf 00",
      "bytes of its base are probably wrong",
    ],
  },
  "a limit without its granularity": {
    text: "ud2",
    special: { ds: { ...protectedState.ds, limit: 0xf_ffff, g: 0 } },
    memory: [[GDT + 0x10, 0x004f_9300_0000_ffffn]],
    says: ["with G = 1 (bit 55) it would be 0xffffffff"],
  },
  "an entry that leads elsewhere than meant": {
    layout: LONG,
    text: "db 0x06",
    bytes: [6],
    registers: { rip: 0x4000n },
    special: { cr3: 0xa_0000n },
    memory: [
      [0xa_0000, 0xa_1003n],
      [0xa_1000, 0xa_2003n],
      [0xa_2000, 0xa_3003n],
      ...Array.from(
        { length: 32 },
        (_, index) => [0xa_3000 + index * 8, BigInt(index) << 12n | 3n] as const,
      ),
      [0xa_3000 + 4 * 8, 0x1_4003n],
    ],
    says: [
      "linear 0x4000: CR3 0xa0000",
      "PTE[4] at 0xa3020 should probably be 0x0000000000004003 instead of 0x0000000000014003: as the entries beside it go",
    ],
  },
};

for (const [name, { says, ...given }] of Object.entries(WAYS)) {
  Deno.test(`the way: ${name}`, () => {
    const chain = chainOf(given, named);
    for (const text of says) assertStringIncludes(chain, text);
  });
}

Deno.test("a step of two instructions, as behind MOV SS, is no other width", () => {
  const lines: Readonly<Record<string, number>> = { "65536": 2, "65538": 5, "65543": 1 };
  const chain = chainOf({
    text: "int3",
    registers: { rip: 0x1_0007n },
    steps: [stepOf("mov ss,eax", 0x1_0000n)],
    source: (linear) => {
      const length = lines[String(linear)];
      return length === undefined ? undefined : { text: "mov ss, ax", length };
    },
  }, named);
  assertEquals(chain.includes("another width"), false, chain);
});

Deno.test("explainStop: nothing of a guest that stands at its own code, and what is odd of one that strayed", () => {
  assertEquals(explainStop(incidentOf({ text: "out dx,al" }), named), []);
  const strayed = explainStop(
    incidentOf({
      text: "add [eax],al",
      bytes: [0, 0],
      registers: { rip: 0x4000_0000n },
      special: { cs: { ...protectedState.cs, base: 0x400_0000n } },
    }),
    named,
  ).map(({ text }) => text).join("\n");
  assertStringIncludes(strayed, "The instruction by CS = 0x0008 (base 0x4000000)");
  assertStringIncludes(strayed, "where there is no memory");
});

Deno.test("explainStop: gates that lead to no code, but not where none leads to code that is known", () => {
  const gate = (vector: number, target: bigint) =>
    [0x6000 + vector * 8, (target & 0xffffn) | 0x8e00_0008_0000n | target >> 16n << 48n] as const;
  const stopped = (targets: readonly bigint[]) =>
    explainStop(
      incidentOf({
        text: "out dx,al",
        memory: targets.map((target, index) => gate(32 + index, target)),
      }),
      named,
    ).map(({ text }) => text);
  assertEquals(stopped([0x1_0010n]), []);
  const [one, ...others] = stopped([0x1_0010n, 0x2_0010n]);
  assertStringIncludes(one, "IDT[33] at 0x6108 is 10 00 08 00 00 8e 02 00: it leads to 0x20010");
  assertEquals(others, []);
  assertEquals(stopped([2n, 3n, 4n, 5n, 6n, 7n].map((page) => page << 16n)), []);
});

Deno.test("explainStop: a guest in its handler of #PF, whose page is not mapped", () => {
  const stopped = (linear: bigint) =>
    explainStop(
      incidentOf({
        layout: LONG,
        text: "push rax",
        registers: { rip: linear },
        special: { cr2: 0x8000_0000n },
        memory: [[0x6000 + 14 * 16, 0x1_8e00_0008_0000n]],
      }),
      named,
    ).map(({ text }) => text).join("\n");
  assertStringIncludes(
    stopped(0x1_8000n - 0x8000n),
    "It is in its handler of #PF, for CR2 0x80000000, which is not mapped: linear 0x80000000: CR3 0x1000",
  );
  assertEquals(stopped(0x1_8000n), "");
});
