import { assertEquals, assertStringIncludes } from "@std/assert";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";
import { makesDoubleFault } from "../../../lib/x86/diagnosis/delivery.ts";
import { exceptionOf } from "../../../lib/x86/exceptions/exceptions.ts";
import { chainOf, type Given } from "./incident_of.ts";

const protectedState = bootState({ mode: "protected" }).specialRegisters;
const longState = bootState({ mode: "long" }).specialRegisters;
const LONG: Given["layout"] = { mode: "long" };

const IDT = 0x6000;
const GDT = 0x5000;
const UD = 6;
/** A 32-bit interrupt gate to 0008:00010000, and the bits by which others differ. */
const GATE = 0x0001_8e00_0008_0000n;
const LONG_GATE = [GATE & 0xffff_ffff_ffff_ffffn, 0n] as const;
const gate = (value: bigint) => [[IDT + UD * 8, value]] as const;
const longGate = (low: bigint, high = 0n) =>
  [[IDT + UD * 16, low], [IDT + UD * 16 + 8, high]] as const;

/** Why an exception is not delivered: the state at a #UD, and what the chain must say. */
const REFUSALS: Readonly<Record<string, Omit<Given, "text"> & { says: readonly string[] }>> = {
  "IDTR of real mode": {
    special: { idt: { base: 0n, limit: 0x3ff } },
    says: [
      "#UD is not delivered: IDTR (base 0x0, limit 0x3ff) is still real mode's; entry 6 of the IDT, at 0x30, is all zeros → #GP(0x32)",
      "(the same holds for vector 13) → #GP(0x6a) → #DF (the same holds for vector 8) → triple fault",
    ],
  },
  "a limit that is too small": {
    special: { idt: { base: 0x6000n, limit: 0x17 } },
    says: ["limit 0x17): entry 6 (bytes 0x30 to 0x37) lies outside → #GP(0x32)"],
  },
  "a gate that is not present": {
    memory: gate(GATE & ~(1n << 47n)),
    says: ["the gate is not present (P = 0) → #NP(0x32)", "With bit 47 (P) set"],
  },
  "a gate of another type": {
    memory: gate(GATE ^ 1n << 41n),
    says: ["is no gate (call gate)", "With bit 41 (type) set it would be a gate"],
  },
  "a gate whose S is set": {
    memory: gate(GATE ^ 1n << 44n),
    says: ["is no gate (a segment)", "With bit 44 (S) clear"],
  },
  "a gate with a null selector": {
    memory: gate(GATE & ~0xffff_0000n),
    says: ["CS = 0x0000 is null", "IDT[6] at 0x6030"],
  },
  "a gate with a data selector": {
    memory: gate(GATE ^ 0x18_0000n),
    says: ["CS = 0x0010 names no code segment", "→ #GP(0x10)", "has the selector 0x08"],
  },
  "a gate beyond the GDT": {
    memory: gate(GATE | 0x100_0000n),
    says: ["the GDT's limit is", "→ #GP(0x108)"],
  },
  "a handler's segment that is not present": {
    memory: [...gate(GATE), [GDT + 8, 0x00cf_1b00_0000_ffffn]],
    says: ["the segment is not present → #NP(0x8)"],
  },
  "a handler beyond the limit": {
    memory: [...gate(GATE), [GDT + 8, 0x0040_9b00_0000_ffffn]],
    says: ["the gate's offset 0x10000 lies outside its segment"],
  },
  "a stack that is not mapped": {
    layout: { mode: "long" },
    memory: longGate(...LONG_GATE),
    registers: { rsp: 0x9000_0000n },
    says: ["the frame cannot be pushed", "→ #PF(0x2)", "linear 0x8fffffd8: CR3 0x1000"],
  },
  "a stack at address 0": {
    memory: gate(GATE),
    registers: { rsp: 4n },
    special: { ss: { ...protectedState.ss, limit: 0xffff, g: 0 } },
    says: ["the frame cannot be pushed at SS:rSP 0x0010:0x4", "→ #SS(0)"],
  },
  "a 32-bit gate in long mode": {
    layout: LONG,
    memory: longGate(GATE ^ 1n << 41n),
    says: ["is no 64-bit gate"],
  },
  "a handler's code of 32 bits in long mode": {
    layout: LONG,
    memory: [...longGate(GATE), [GDT + 8, 0x008f_9b00_0000_ffffn]],
    says: ["a handler must be 64-bit code (L = 1)", "With bit 53 (L) set"],
  },
  "an IST that is not there": {
    layout: LONG,
    memory: longGate(GATE | 1n << 32n),
    special: { tr: { ...longState.tr, limit: 0x23 } },
    says: ["IST1 cannot be read → #TS(0x18)"],
  },
  "no TSS, and CPL 3": {
    special: {
      ss: { ...protectedState.ss, dpl: 3, selector: 0x3b },
      tr: { ...protectedState.tr, selector: 0 },
    },
    memory: gate(GATE),
    says: ["TR = 0x0000 holds no TSS, from which the handler's stack (ESP0) comes"],
  },
  "a handler where nothing is mapped": {
    layout: LONG,
    memory: longGate(GATE, 0x2000n),
    says: ["#UD is delivered to 0x0008:0x200000010000", "the handler cannot be fetched: #PF"],
  },
};

for (const [name, { says, ...given }] of Object.entries(REFUSALS)) {
  Deno.test(`delivery: ${name}`, () => {
    const chain = chainOf({ ...given, text: "ud2" });
    for (const text of says) assertStringIncludes(chain, text);
  });
}

Deno.test("delivery: one bit of a gate's offset away from a label, that is said", () => {
  const names = (linear: bigint) => linear === 0x1_0000n ? "on_ud (boot.asm:9)" : undefined;
  const given: Given = { layout: LONG, memory: longGate(GATE, 0x2000n), text: "ud2" };
  assertStringIncludes(
    chainOf(given, names),
    "With bit 45 of the offset clear it would be on_ud (boot.asm:9)",
  );
});

Deno.test("delivery: int n wants the gate's DPL, which exceptions do not", () => {
  const user = {
    special: { ss: { ...protectedState.ss, dpl: 3, selector: 0x3b } },
    memory: gate(GATE),
  };
  assertStringIncludes(
    chainOf({ ...user, text: "int 0x6" }),
    "Vector 6 is not delivered: the gate's DPL, 0, is below the CPL, 3 → #GP(0x32)",
  );
  const chain = chainOf({ ...user, text: "ud2" });
  assertEquals(chain.includes("below the CPL"), false, chain);
});

Deno.test("delivery: an interrupt from outside is benign, whatever its vector", () => {
  const chain = chainOf({
    text: "jmp short 0x10000",
    interrupt: { vector: 8, source: "external" },
    special: { idt: { base: 0n, limit: 0 } },
    registers: { rflags: 0x202n },
  });
  assertStringIncludes(chain, "Vector 8 (an interrupt) arrived at 0008:10000");
  assertStringIncludes(chain, "RFLAGS.IF = 1");
  assertStringIncludes(chain, "Vector 8 is not delivered");
  assertStringIncludes(chain, "→ #GP(0x42) (the same holds for vector 13) → #GP(0x6a) → #DF");
});

Deno.test("makesDoubleFault: table 6-5 of the manual", () => {
  const pairs: readonly (readonly [string, string, boolean])[] = [
    ["#UD", "#GP", false],
    ["#UD", "#PF", false],
    ["#GP", "#GP", true],
    ["#GP", "#PF", false],
    ["#PF", "#GP", true],
    ["#PF", "#PF", true],
    ["#DE", "#NP", true],
    ["#BP", "#TS", false],
  ];
  for (const [first, second, expected] of pairs) {
    const made = makesDoubleFault(exceptionOf(first).vector, exceptionOf(second).vector);
    assertEquals(made, expected, `${first}, ${second}`);
  }
});

Deno.test("delivery: a TSS that reaches just as far as the field serves", () => {
  const memory = longGate(GATE | 1n << 32n);
  const given = (limit: number): Given => ({
    layout: LONG,
    text: "ud2",
    memory,
    special: { tr: { ...longState.tr, limit } },
  });
  assertStringIncludes(chainOf(given(0x2a)), "IST1 cannot be read");
  assertEquals(chainOf(given(0x2b)).includes("cannot be read"), false);
});

Deno.test("delivery: a handler that begins within a line of assembly is none", () => {
  const given: Given = {
    layout: LONG,
    memory: [...longGate(GATE), [0x1_0000, 0x9090n]],
    text: "ud2",
    source: (linear) => linear === 0x1_0000n - 4n ? { text: "dq 1", length: 8 } : undefined,
  };
  const none = "no instruction begins at the handler: IDT[6] at 0x6060";
  assertStringIncludes(chainOf(given, () => "gdt+0x4 (boot.asm:9)"), none);
  assertEquals(chainOf(given, () => "gdt+0x4 (boot.c:9)").includes(none), false);
});
