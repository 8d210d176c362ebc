import { assert, assertEquals } from "@std/assert";
import type { BootLayout } from "../../../lib/x86/boot/boot_state.ts";
import { explainIncident, explainStop } from "../../../lib/x86/diagnosis/explain_incident.ts";
import { effectiveAddress, readInstruction } from "../../../lib/x86/diagnosis/operands.ts";
import type { Incident } from "../../../lib/x86/diagnosis/incident.ts";
import { SplitMix32 } from "../../../lib/x86/split_mix.ts";
import { incidentOf, stepOf } from "./incident_of.ts";

const MODES: readonly BootLayout["mode"][] = [
  ...["real", "unreal", "protected16", "protected", "paged"] as const,
  ...["pae", "virtual8086", "compatibility", "long"] as const,
];

const TEXTS = [
  ...["mov cs,eax", "mov ss,ax", "mov ds,[bx+si+0x5]", "pop es", "lds eax,[ebx]", "lgdt [eax]"],
  ...[
    "jmp 0x8:0x1234",
    "jmp far [eax]",
    "call far [rax]",
    "retf",
    "retfq",
    "iret",
    "iretq",
    "iretw",
  ],
  ...[
    "ltr ax",
    "lldt ax",
    "mov cr0,eax",
    "mov cr3,eax",
    "mov cr4,eax",
    "mov cr8,rax",
    "wrmsr",
    "xsetbv",
  ],
  ...["movaps xmm0,oword [rax+r9*8+0x7fffffff]", "vaddps ymm0,ymm1,[rel 0x10]", "fxsave [eax]"],
  ...[
    "rep stosd",
    "rep movsb",
    "fs lodsb",
    "div byte [esi]",
    "idiv ecx",
    "int 0x80",
    "int3",
    "into",
  ],
  ...["push qword [rax]", "pusha", "enter 0x8,0x0", "leave", "ret", "call eax", "jmp [rax*8+0x0]"],
  ...[
    "db 0xff",
    "add [eax],al",
    "",
    "mov [",
    "lock",
    "jmp 0x:",
    "mov eax,[eax+",
    "sysret",
    "rdmsr",
  ],
];

/** A register's value: small, odd, or anything. */
function value(random: SplitMix32): bigint {
  const any = BigInt(random.next()) << 32n | BigInt(random.next());
  const kinds = [0n, 1n, any, any & 0xffffn, any & 0xffff_ffffn, 0x8000_0000_0000n, 2n ** 64n - 1n];
  return kinds[random.below(kinds.length)];
}

/** An incident of which nothing fits together. */
function anyIncident(random: SplitMix32): Incident {
  const incident = incidentOf({
    layout: { mode: MODES[random.below(MODES.length)] } as BootLayout,
    text: TEXTS[random.below(TEXTS.length)],
  });
  const registers = { ...incident.registers };
  for (const name of Object.keys(registers) as (keyof typeof registers)[]) {
    if (random.below(2)) registers[name] = value(random);
  }
  const specialRegisters = structuredClone(incident.specialRegisters);
  for (const name of ["cr0", "cr3", "cr4", "efer"] as const) {
    if (random.below(3) === 0) specialRegisters[name] = value(random);
  }
  for (const name of ["cs", "ss", "ds", "es", "tr", "ldt"] as const) {
    if (random.below(3) > 0) continue;
    const { base, limit, ...rest } = specialRegisters[name];
    const fields = Object.keys(rest) as (keyof typeof rest)[];
    specialRegisters[name][fields[random.below(fields.length)]] = random.below(0x10000);
    specialRegisters[name].base = random.below(2) ? base : value(random);
    specialRegisters[name].limit = random.below(2) ? limit : random.next();
  }
  for (const name of ["gdt", "idt"] as const) {
    if (random.below(3) === 0) {
      specialRegisters[name] = { base: value(random), limit: random.below(0x10000) };
    }
  }
  const noise = random.next();
  return {
    ...incident,
    registers,
    specialRegisters,
    instruction: { ...incident.instruction, linear: value(random) },
    steps: Array.from(
      { length: random.below(6) },
      () => stepOf(TEXTS[random.below(TEXTS.length)], value(random), registers, specialRegisters),
    ),
    ...random.below(3)
      ? {}
      : { exception: { vector: random.below(40), errorCode: 5, cr2: value(random) } },
    ...random.below(4) ? {} : { interrupt: { vector: random.below(256), source: "external" } },
    read(gpa, size) {
      if (random.below(8) === 0) throw new RangeError("no memory");
      const bytes = random.below(2) ? incident.read(gpa, size) : undefined;
      return bytes?.map((byte, index) => random.below(6) ? byte : byte ^ (noise + index));
    },
  };
}

Deno.test("explainIncident: never throws, and its findings are bounded, whatever registers and memory hold", () => {
  const random = new SplitMix32(6);
  for (let count = 0; count < 150; count++) {
    const incident = anyIncident(random);
    const names = (linear: bigint) => {
      if (random.below(50) === 0) throw new Error("no names");
      return linear % 3n ? undefined : `label+${linear}`;
    };
    const findings = explainIncident(incident, names);
    assert(findings.length > 0 && findings.length <= 40, String(findings.length));
    for (const { text } of findings) {
      assert(text.length <= 610 && !text.includes("undefined") && !text.includes("NaN"), text);
      assert(
        !text.includes("a part of the explanation failed"),
        `${incident.instruction.text}: ${text}`,
      );
    }
    explainStop(incident, names);
  }
});

Deno.test("a text as ndisasm writes it, in its parts", () => {
  const { registers } = incidentOf({
    text: "",
    registers: { rbx: 0x1000n, rsi: 0x20n, rbp: 0x30n },
  });
  const memory = (text: string, bits: 16 | 32 | 64) => {
    const operand = readInstruction(text, bits).operands.find(({ kind }) => kind === "memory");
    assert(operand?.kind === "memory", text);
    return [operand.segment, effectiveAddress(operand, registers), operand.size];
  };
  assertEquals(memory("mov eax,[fs:ebx+esi*4-0x10]", 32), ["fs", 0x1070n, undefined]);
  assertEquals(memory("mov byte [bp+si+0x5],0x1", 16), ["ss", 0x55n, 1]);
  assertEquals(memory("movsd xmm0,qword [dword 0x7c70]", 32), ["ds", 0x7c70n, 8]);
  assertEquals(memory("mov ax,[bx-0x1001]", 16), ["ds", 0xffffn, undefined]);
  assertEquals(memory("mov eax,[rel 0x8]", 64), ["ds", 8n, undefined]);
  const { prefixes, mnemonic, operands } = readInstruction("o32 rep fs lodsd", 16);
  assertEquals([prefixes, mnemonic, operands], [["o32", "rep", "fs"], "lodsd", []]);
  assertEquals(readInstruction("jmp dword 0x8:0x7c2d", 16).operands, [
    { kind: "far pointer", selector: 8, offset: 0x7c2dn },
  ]);
});
