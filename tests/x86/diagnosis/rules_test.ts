import { assertEquals, assertStringIncludes } from "@std/assert";
import { accessesOf } from "../../../lib/x86/diagnosis/accesses.ts";
import { readInstruction } from "../../../lib/x86/diagnosis/operands.ts";
import { chainOf, type Given, incidentOf, stepOf } from "./incident_of.ts";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";

const LONG: Given["layout"] = { mode: "long" };
const PAGED: Given["layout"] = { mode: "paged" };
const longState = bootState({ mode: "long" }).specialRegisters;
const protectedState = bootState({ mode: "protected" }).specialRegisters;

const GDT = 0x5000;
const flags = (special: typeof longState, cr4: bigint) => ({ ...special, cr4 });

/** A rule of the manuals: an instruction and its state, and what the chain must say. */
interface Rule extends Given {
  readonly says: readonly string[];
}

const RULES: Readonly<Record<string, Rule>> = {
  "MOV cannot load CS": { text: "mov cs,eax", says: ["#UD at", "MOV cannot load CS"] },
  "an opcode that is none": { text: "db 0x0f", bytes: [0x0f, 0xff], says: ["#UD", "0f ff"] },
  "LOCK before MOV": { text: "lock mov eax,ebx", says: ["#UD", "LOCK may stand"] },
  "LOCK with a register as destination": { text: "lock add eax,[ebx]", says: ["#UD", "LOCK"] },
  "SSE without CR4.OSFXSR": {
    text: "movsd xmm0,qword [dword 0x1000]",
    special: flags(protectedState, 0n),
    features: new Set(["sse2"]),
    says: ["#UD", "CR4.OSFXSR = 0 (CR0.EM = 0)", "CR0.MP (bit 1) = 1", "CPUID has SSE2"],
  },
  "SSE with CR0.EM": {
    text: "addps xmm0,xmm1",
    special: { cr0: protectedState.cr0 | 4n },
    says: ["#UD", "CR0.EM = 1"],
  },
  "SSE with CR0.TS": {
    text: "addps xmm0,xmm1",
    special: { cr0: protectedState.cr0 | 8n },
    says: ["#NM", "CR0.TS"],
  },
  "x87 with CR0.EM": {
    text: "fld dword [eax]",
    special: { cr0: protectedState.cr0 | 4n },
    says: ["#NM", "CR0.EM"],
  },
  "AVX without OSXSAVE": { text: "vaddps ymm0,ymm1,ymm2", says: ["#UD", "CR4.OSXSAVE"] },
  "AVX without its state in XCR0": {
    text: "vaddps ymm0,ymm1,ymm2",
    special: { cr4: protectedState.cr4 | 1n << 18n },
    xcr0: 1n,
    says: ["#UD", "XCR0 lacks"],
  },
  "LTR in real mode": { layout: { mode: "real" }, text: "ltr ax", says: ["#UD", "CR0.PE = 0"] },
  "SYSCALL without EFER.SCE": { layout: LONG, text: "syscall", says: ["#UD", "EFER.SCE"] },
  "MOV to CR5": { text: "mov cr5,eax", says: ["#UD", "there is no CR5"] },

  "DS with a selector beyond the GDT": {
    text: "mov ds,eax",
    registers: { rax: 0x200n },
    says: ["#GP(0x200)", "lies outside", "GDTR: base 0x5000", "RAX (0x200)"],
  },
  "SS with a code segment": {
    text: "mov ss,eax",
    registers: { rax: 8n },
    says: ["#GP(0x8)", "no writable data segment", "GDT[1]", "has the selector 0x10"],
  },
  "SS null in protected mode": { text: "mov ss,eax", says: ["#GP(0)", "may not be null"] },
  "a data segment that is not present": {
    text: "mov es,eax",
    registers: { rax: 0x10n },
    memory: [[GDT + 0x10, 0x00cf_1300_0000_ffffn]],
    says: ["#NP(0x10)", "is not present", "bit 47 (P) set"],
  },
  "a stack segment that is not present": {
    text: "mov ss,eax",
    registers: { rax: 0x10n },
    memory: [[GDT + 0x10, 0x00cf_1300_0000_ffffn]],
    says: ["#SS(0x10)", "bit 47 (P) set"],
  },
  "a data segment whose S is clear": {
    text: "mov ds,eax",
    registers: { rax: 0x10n },
    memory: [[GDT + 0x10, 0x00cf_8200_0000_ffffn]],
    says: ["#GP(0x10)", "bit 44 (S) set", "GDT[2] at 0x5010 is ff ff 00 00 00 82 cf 00"],
  },
  "a far jump to a data segment": {
    text: "jmp 0x10:0x10000",
    says: ["#GP(0x10)", "names no code segment", "bit 43 (type) set"],
  },
  "a far jump by a null selector": { text: "jmp 0x0:0x10000", says: ["#GP(0)", "is null"] },
  "a far jump to a code segment of DPL 3": {
    text: "jmp 0x8:0x10000",
    memory: [[GDT + 8, 0x00cf_fb00_0000_ffffn]],
    says: ["#GP(0x8)", "DPL 3 does not fit CPL 0"],
  },
  "a far jump beyond the limit": {
    text: "jmp 0x8:0x10000",
    memory: [[GDT + 8, 0x0040_9b00_0000_ffffn]],
    says: ["#GP(0)", "beyond the limit 0xffff"],
  },
  "a far jump by a pointer in memory": {
    text: "jmp far [eax]",
    registers: { rax: 0x9000n },
    memory: [[0x9000, 0x0010_0001_0000n]],
    says: ["#GP(0x10)", "The pointer 0x0010:0x10000 was read from 0x9000"],
  },
  "L and D together in long mode": {
    layout: LONG,
    text: "retfq",
    memory: [[GDT + 8, 0x00ef_9b00_0000_ffffn], [0xfff0, 0x10000n], [0xfff8, 8n]],
    registers: { rsp: 0xfff0n },
    says: ["#GP(0x8)", "L = 1 and D = 1"],
  },
  "IRETQ with a stale SS": {
    layout: LONG,
    text: "iretq",
    registers: { rsp: 0xff00n },
    special: { gdt: { base: 0x5000n, limit: 0xf } },
    memory: [
      [0xff00, 0x10000n],
      [0xff08, 8n],
      [0xff10, 2n],
      [0xff18, 0xff80n],
      [0xff20, 0x10n],
    ],
    says: [
      "#GP(0x10)",
      "the frame has SS = 0x0010: the GDT's limit is 0x0f",
      "null selector is allowed in SS at CPL 0",
    ],
  },
  "LTR of a busy TSS": {
    text: "ltr ax",
    registers: { rax: 0x18n },
    says: ["#GP(0x18)", "busy already", "bit 41 (type) clear"],
  },
  "LTR of a data segment": {
    text: "ltr ax",
    registers: { rax: 0x10n },
    says: ["#GP(0x10)", "does not name an available TSS"],
  },

  "an offset beyond the limit": {
    text: "mov bl,[dword 0x4a]",
    special: { ds: { ...protectedState.ds, base: 0x400n, limit: 0xf, g: 0, selector: 0x18 } },
    says: ["#GP(0)", "DS = 0x0018 has base 0x400, limit 0x0f; offset 0x4a lies outside"],
  },
  "a push below an expand-down limit": {
    text: "push eax",
    registers: { rsp: 0x1000n },
    special: { ss: { ...protectedState.ss, type: 7, limit: 0x1fff, g: 0 } },
    says: ["#SS(0)", "outside"],
  },
  "a word that ends behind real mode's 64 KiB": {
    layout: { mode: "real" },
    text: "mov ax,[0xffff]",
    says: ["#GP at", "offsets 0xffff to 0x10000 lie outside"],
  },
  "a write to a code segment": {
    text: "mov [cs:0x10],eax",
    says: ["#GP(0)", "nothing can be written"],
  },
  "an access by a null segment": {
    text: "mov eax,[ebx]",
    special: { ds: { ...protectedState.ds, unusable: 1, present: 0, selector: 0 } },
    says: ["#GP(0)", "holds no segment (null)"],
  },
  "an address that is not canonical": {
    layout: LONG,
    text: "mov rax,[rbx]",
    registers: { rbx: 0x8000_0000_0000n },
    says: ["#GP(0)", "0x800000000000 is not canonical", "RBX"],
  },
  "a stack address that is not canonical": {
    layout: LONG,
    text: "push rax",
    registers: { rsp: 0x8000_0000_0000_0000n },
    says: ["#SS(0)", "not canonical"],
  },
  "MOVAPS off 16 bytes": {
    layout: LONG,
    text: "movaps xmm0,oword [rax+0x8]",
    registers: { rax: 0x1000n },
    says: ["#GP(0)", "0x1008 is not a multiple of 16"],
  },
  "a divisor of 0": { text: "div ecx", says: ["#DE", "the divisor is 0", "RCX"] },
  "a quotient that does not fit": {
    text: "div cl",
    registers: { rax: 0x1000n, rcx: 2n },
    says: ["#DE", "does not fit 8 bits"],
  },

  "CR0.PG without PE": {
    layout: { mode: "real" },
    text: "mov cr0,eax",
    registers: { rax: 0x8000_0000n },
    says: ["#GP at", "PG (bit 31) needs PE"],
  },
  "CR0.PG with EFER.LME, without CR4.PAE": {
    text: "mov cr0,eax",
    registers: { rax: 0x8000_0001n },
    special: { efer: 0x100n, cr4: 0n },
    says: ["#GP(0)", "needs CR4.PAE (bit 5) = 1", "CR4 (0x0)"],
  },
  "tables of 4 levels without EFER.LME": {
    text: "mov cr0,eax",
    registers: { rax: 0x8000_0001n },
    special: { cr3: 0x8000n, cr4: 0x20n, efer: 0n },
    memory: [[0x8000, 0x9003n]],
    says: ["#GP(0)", "PDPTE[0] at 0x8000", "EFER.LME (bit 8 of MSR 0xc0000080) = 1 before CR0.PG"],
  },
  "a reserved bit of CR4": {
    text: "mov cr4,eax",
    registers: { rax: 0x8000_0000n },
    says: ["#GP(0)", "reserved bit 31"],
  },
  "a flag of CR4 that the CPU lacks": {
    text: "mov cr4,eax",
    registers: { rax: 0x1000n },
    features: new Set(["sse2"]),
    says: ["#GP(0)", "LA57 (bit 12)", "which this CPU lacks"],
  },
  "LME changed while paging is on": {
    layout: PAGED,
    text: "wrmsr",
    registers: { rcx: 0xc000_0080n, rax: 0x100n },
    says: ["#GP(0)", "LME may not be changed"],
  },
  "an address in LSTAR that is not canonical": {
    layout: LONG,
    text: "wrmsr",
    registers: { rcx: 0xc000_0082n, rdx: 0x8000n },
    says: ["#GP(0)", "canonical"],
  },
  "XSETBV without x87": {
    text: "xsetbv",
    special: { cr4: protectedState.cr4 | 1n << 18n },
    registers: { rax: 6n },
    says: ["#GP(0)", "bit 0 (x87) must be 1"],
  },
  "HLT at CPL 3": {
    text: "hlt",
    special: { ss: { ...protectedState.ss, dpl: 3, selector: 0x3b } },
    says: ["#GP(0)", "CPL 0 alone; the CPL is 3"],
  },

  "an entry that is not present": {
    layout: LONG,
    text: "mov rax,[rbx]",
    registers: { rbx: 0x8000_0000n },
    says: ["#PF(0)", "read from 0x80000000, not present", "CR3 (0x1000)"],
  },
  "XD without EFER.NXE": {
    layout: LONG,
    text: "mov rax,[rbx]",
    registers: { rbx: 0x1000n },
    special: { efer: longState.efer & ~0x800n },
    memory: [[0x1000, 0x8000_0000_0000_2003n]],
    says: ["#PF(0x9)", "XD (bit 63)", "needs EFER.NXE = 1"],
  },
  "a read-only page": {
    layout: LONG,
    text: "mov [rbx],rax",
    registers: { rbx: 0x1000n },
    special: { cr0: longState.cr0 | 0x1_0000n },
    memory: [[0x1000, 0x2001n]],
    says: [
      "#PF(0x3)",
      "read-only at PML4E",
      "PML4E[0] at 0x1000 should probably be",
      "bit 1 (RW) is clear",
    ],
  },
  "an entry whose P was lost": {
    layout: PAGED,
    text: "mov eax,[ebx]",
    registers: { rbx: 0x5000n },
    special: { cr3: 0x8000n },
    memory: [[0x8000, 0x9003n, 4], [0x9014, 0x5002n, 4], [0x9040, 0x1_0003n, 4]],
    says: ["PTE[5] at 0x9014 should probably be 0x00005003 instead of 0x00005002"],
  },
};

for (const [name, { says, ...given }] of Object.entries(RULES)) {
  Deno.test(`rule: ${name}`, () => {
    const chain = chainOf(given);
    for (const text of says) assertStringIncludes(chain, text);
  });
}

Deno.test("rules that are kept raise nothing", () => {
  const kept: readonly Given[] = [
    { text: "addps xmm0,xmm1", special: flags(protectedState, 1n << 9n) },
    { text: "mov ds,eax", registers: { rax: 0x10n } },
    { text: "mov ds,eax", registers: { rax: 0n } },
    { text: "jmp 0x8:0x10000" },
    { text: "mov eax,[dword 0xc]", special: { ds: { ...protectedState.ds, limit: 0xf, g: 0 } } },
    { text: "div cl", registers: { rax: 0xff0n, rcx: 0x10n } },
    { layout: LONG, text: "movups xmm0,oword [rax+0x8]", registers: { rax: 0x1000n } },
    { layout: LONG, text: "mov ss,eax", registers: { rax: 0n } },
  ];
  for (const given of kept) {
    assertStringIncludes(chainOf(given), "no rule that is known here is broken");
  }
});

Deno.test("since when a register holds its value: the first step as well, and the boot", () => {
  const given: Given = { text: "mov ds,eax", registers: { rax: 0x200n }, steps: [] };
  const first = {
    ...given,
    steps: [stepOf("mov eax,0x200", 0x1_0000n), stepOf("nop", 0x1_0005n, { rax: 0x200n })],
  };
  assertStringIncludes(
    chainOf(first),
    "RAX (0x200) was last written by `mov eax,0x200` at 0x10000",
  );
  const { registers, specialRegisters } = incidentOf(given);
  assertStringIncludes(
    chainOf({ ...given, boot: { registers, specialRegisters } }),
    "RAX (0x200) is as it was at boot: no instruction wrote it",
  );
});

Deno.test("accesses of the stack: how many bytes, and where", () => {
  const state = incidentOf({ text: "", registers: { rsp: 0x1000n, rbp: 0x800n } });
  const accesses:
    readonly (readonly [text: string, offset: bigint, size: number, write: boolean])[] = [
      ["push eax", 0xffcn, 4, true],
      ["push word 0x8", 0xffcn, 4, true],
      ["pusha", 0xfe0n, 32, true],
      ["call 0x100", 0xffcn, 4, true],
      ["call 0x8:0x100", 0xff8n, 8, true],
      ["pop ax", 0x1000n, 2, false],
      ["retf", 0x1000n, 8, false],
      ["iretw", 0x1000n, 6, false],
      ["leave", 0x800n, 4, false],
    ];
  for (const [text, offset, size, write] of accesses) {
    const found = accessesOf(readInstruction(text, 32), state, 32);
    assertEquals(found, [{ segment: "ss", offset, size, write, isStack: true }], text);
  }
});

Deno.test("an exception that was seen counts, and what the manuals have in its place is said", () => {
  const given: Given = {
    text: "mov ss,eax",
    registers: { rax: 0x10n },
    memory: [[GDT + 0x10, 0x00cf_1300_0000_ffffn]],
    exception: { vector: 11, errorCode: 0x10 },
  };
  const chain = chainOf(given);
  assertStringIncludes(
    chain,
    "#NP(0x10) at 0008:10000, `mov ss, eax`: SS = 0x0010: the segment is not present",
  );
  assertStringIncludes(chain, "bit 47 (P) set");
  assertStringIncludes(chain, "By the manuals it is #SS: this processor has raised another");
  const other = chainOf({ text: "nop", exception: { vector: 13, errorCode: 0x10 } });
  assertStringIncludes(other, "#GP(0x10) at 0008:10000, `nop`: general protection");
  assertStringIncludes(other, "GDT[2] at 0x5010 is ff ff 00 00 00 93 cf 00: data");
});

Deno.test("a frame's slots: who pushed them, but not what lay there before the CPU pushed its own", () => {
  const frame: Given = {
    text: "iret",
    registers: { rsp: 0x9000n },
    memory: [[0x9000, 0x1_0000n, 4], [0x9004, 0x82n, 4], [0x9008, 2n, 4]],
  };
  const push = stepOf("push dword 0x82", 0xfff8n, { rsp: 0x9008n });
  const pushed = "CS 0x82 (`push dword 0x82` at 0xfff8)";
  assertStringIncludes(chainOf({ ...frame, steps: [push] }), pushed);
  const interrupted = chainOf({ ...frame, steps: [push, stepOf("int3", 0xfffan)] });
  assertEquals(interrupted.includes(pushed), false, interrupted);
  assertStringIncludes(interrupted, "CS 0x82");
});
