import { hex } from "../hex.ts";
import { msrText } from "../msrs/msr_number.ts";
import { isCanonical, PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import { pagingFormats } from "../paging/page_levels.ts";
import { reservedBits } from "../paging/page_walk.ts";
import {
  cr0Flags,
  type Cr4Flag,
  cr4Flags,
  type EferFlag,
  eferFlags,
} from "../registers/flag_tables.ts";
import { flagMask, flagNames, type FlagTable, getFlag } from "../registers/flags.ts";
import type { CpuidFeature } from "../cpuid/cpuid_features.ts";
import type { GuestView } from "./guest_view.ts";
import { accessesOf } from "./accesses.ts";
import { linearAddressBits } from "./memory_rules.ts";
import { type ReadInstruction, registerValue } from "./operands.ts";
import { cause, raise, type Raised } from "./raised.ts";

/** Instructions of CPL 0 (Intel SDM Vol. 3A, 5.9). */
const PRIVILEGED =
  /^(hlt|l[gi]dt|lldt|ltr|lmsw|clts|invd|wbinvd|invlpg|invpcid|rdmsr|wrmsr|swapgs|sysexit|sysret|xsetbv)$/;
const BY_IOPL = /^(cli|sti|in|out|ins[bwd]|outs[bwd])$/;
const IOPL_BIT = 12n;

/** What CPUID must offer for a flag of CR4 (Intel SDM Vol. 3A, 2.5). */
const CR4_FEATURES: Partial<Record<Cr4Flag, CpuidFeature>> = {
  vme: "vme",
  pse: "pse",
  pae: "pae",
  pge: "pge",
  umip: "umip",
  la57: "la57",
  fsgsbase: "fsgsbase",
  pcide: "pcid",
  osxsave: "xsave",
  smep: "smep",
  smap: "smap",
  pke: "pku",
};

const EFER_FEATURES: Partial<Record<EferFlag, CpuidFeature>> = {
  sce: "syscall",
  lme: "lm",
  nxe: "nx",
  svme: "svm",
};

/** The #GP of privileged instructions and of values that control registers refuse (Intel SDM Vol. 3A, 2.5). */
export function checkControl(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands: [first, second] } = instruction;
  const control = [first, second].find((each) =>
    each?.kind === "register" && /^[cd]r\d/.test(each.name)
  );
  if (
    view.cpl > 0 && (PRIVILEGED.test(mnemonic) || (mnemonic === "mov" && control !== undefined))
  ) {
    return raise("#GP", `it is for CPL 0 alone; the CPL is ${view.cpl}`, {
      errorCode: 0,
      registers: ["cs"],
    });
  }
  const iopl = Number(view.incident.registers.rflags >> IOPL_BIT & 3n);
  if (BY_IOPL.test(mnemonic) && view.cpl > iopl && /^(cli|sti)$/.test(mnemonic)) {
    return raise("#GP", `the CPL, ${view.cpl}, is above RFLAGS.IOPL, ${iopl}`, { errorCode: 0 });
  }
  if (mnemonic === "mov" && first?.kind === "register" && second?.kind === "register") {
    return checkMove(view, first.name, second.name);
  }
  if (mnemonic === "xsetbv") return checkXsetbv(view);
  return (mnemonic === "wrmsr" ? checkWrmsr(view) : undefined) ?? checkLoaded(view, instruction);
}

/** What registers refuse that an instruction loads from a register or from memory: addresses and MXCSR (Intel SDM Vol. 2). */
export function checkLoaded(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands: [first] } = instruction;
  const { registers } = view.incident;
  if (mnemonic === "wrmsr") return checkAddressMsr(view);
  const base = /^wr([fg]s)base$/.exec(mnemonic)?.[1];
  if (base !== undefined && first?.kind === "register") {
    const value = registerValue(first.name, registers);
    return checkCanonical(view, value, `the base of ${base.toUpperCase()}`, [first.name]);
  }
  const [access] = accessesOf(instruction, view.incident, view.bits);
  if (access === undefined) return undefined;
  const linear = view.linearOf(access.segment, access.offset);
  if (view.bits === 64 && (mnemonic === "lgdt" || mnemonic === "lidt")) {
    const value = view.number(linear + LIMIT_BYTES, ADDRESS_BYTES);
    return value === undefined ? undefined : checkCanonical(view, value, "the table's base", []);
  }
  const mxcsrAt = MXCSR_OFFSETS[mnemonic];
  const mxcsr = mxcsrAt === undefined ? undefined : view.number(linear + mxcsrAt, MXCSR_BYTES);
  if (mxcsr === undefined || mxcsr >> MXCSR_BITS === 0n) return undefined;
  return raise("#GP", `MXCSR = ${hex(mxcsr)}: bits 31:16 are reserved`, { errorCode: 0 });
}

/** Bytes before the base in a descriptor table's operand, and of the base in 64-bit mode. */
const LIMIT_BYTES = 2n;
const ADDRESS_BYTES = 8;
/** Where MXCSR is in what an instruction reads, and how many of its bits are used (Intel SDM Vol. 1, 10.2.3). */
const MXCSR_OFFSETS: Readonly<Record<string, bigint>> = {
  ldmxcsr: 0n,
  fxrstor: 24n,
  fxrstor64: 24n,
};
const MXCSR_BYTES = 4;
const MXCSR_BITS = 16n;

function checkCanonical(
  view: GuestView,
  value: bigint,
  what: string,
  registers: readonly string[],
): Raised | undefined {
  if (isCanonical(value, linearAddressBits(view))) return undefined;
  return raise("#GP", `${what}, ${hex(value)}, is not canonical`, { errorCode: 0, registers });
}

function checkMove(view: GuestView, target: string, source: string): Raised | undefined {
  const value = registerValue(source, view.incident.registers);
  const raised = (reason: string, causes = [] as Raised["causes"], registers: string[] = []) =>
    raise("#GP", `${target.toUpperCase()} = ${hex(value)}: ${reason}`, {
      errorCode: 0,
      causes,
      registers: [source, ...registers],
    });
  switch (target) {
    case "cr0":
      return checkCr0(view, value, raised);
    case "cr3":
      return checkCr3(view, value, raised);
    case "cr4":
      return checkCr4(view, value, raised);
    case "cr8":
      return value > 15n ? raised("it has 4 bits") : undefined;
    default:
      return undefined;
  }
}

type RaisedBy = (reason: string, causes?: Raised["causes"], registers?: string[]) => Raised;

function checkCr0(view: GuestView, value: bigint, raised: RaisedBy): Raised | undefined {
  const on = (flag: string) => getFlag(cr0Flags, flag, value) === true;
  if (value >> 32n !== 0n) return raised("bits 63:32 are reserved");
  if (on("pg") && !on("pe")) return raised("PG (bit 31) needs PE (bit 0)");
  if (on("nw") && !on("cd")) return raised("NW (bit 29) needs CD (bit 30)");
  if (!on("wp") && view.cr4("cet")) return raised("WP may not be cleared while CR4.CET = 1");
  const turnsOn = on("pg") && !view.cr0("pg");
  if (turnsOn && view.efer("lme")) {
    if (!view.cr4("pae")) {
      return raised("with EFER.LME = 1, PG needs CR4.PAE (bit 5) = 1, which is 0", [], ["cr4"]);
    }
    if (view.special.cs.l) return raised("long mode may not be entered from a CS with L = 1");
  }
  if (!on("pg") && view.cr0("pg")) {
    if (view.mode === "64-bit") return raised("paging may not be switched off in 64-bit mode");
    if (view.cr4("pcide")) return raised("paging may not be switched off while CR4.PCIDE = 1");
  }
  return turnsOn && !view.efer("lme") && view.cr4("pae")
    ? checkPointers(view, view.special.cr3, raised)
    : undefined;
}

function checkCr3(view: GuestView, value: bigint, raised: RaisedBy): Raised | undefined {
  const width = view.incident.physicalAddressBits ?? PHYSICAL_ADDRESS_BITS;
  const checked = view.cr4("pcide") ? BigInt.asUintN(63, value) : value;
  if (view.efer("lma") && checked >> BigInt(width) !== 0n) {
    return raised(`the address has more than the CPU's ${width} bits`);
  }
  const isPae = view.cr0("pg") && view.cr4("pae") && !view.efer("lma");
  return isPae ? checkPointers(view, value, raised) : undefined;
}

const POINTERS = 4;

/** PAE's four PDPTEs are read when CR3 or paging is set (Intel SDM Vol. 3A, 4.4.1). */
function checkPointers(view: GuestView, cr3: bigint, raised: RaisedBy): Raised | undefined {
  const { rootAddress, entrySize, levels: [level] } = pagingFormats.PAE;
  const table = Number(cr3 & rootAddress);
  const physicalAddressBits = view.incident.physicalAddressBits ?? PHYSICAL_ADDRESS_BITS;
  const reserved = reservedBits(level, undefined, {
    paging: "PAE",
    noExecute: true,
    largePages: true,
    physicalAddressBits,
  });
  for (let index = 0; index < POINTERS; index++) {
    const gpa = table + index * entrySize;
    const entry = view.quadword(gpa);
    if (entry === undefined || (entry & 1n) === 0n || (entry & reserved) === 0n) continue;
    const looksLong = (entry & 0x6n) !== 0n;
    return raised(
      `PAE paging begins, and its PDPTE[${index}] at ${view.place(BigInt(gpa))} = ${
        hex(entry, 16)
      } has the reserved bits ${hex(entry & reserved)} set`,
      looksLong
        ? [
          cause(
            "In PAE paging a PDPTE has neither R/W (bit 1) nor U/S (bit 2). These look like tables of 4 levels: those " +
              "need EFER.LME (bit 8 of MSR 0xc0000080) = 1 before CR0.PG, and it is 0",
            { linear: BigInt(gpa) },
          ),
        ]
        : [],
      ["efer", "cr3"],
    );
  }
  return undefined;
}

function checkCr4(view: GuestView, value: bigint, raised: RaisedBy): Raised | undefined {
  const reserved = unknownBits(value, cr4Flags);
  if (reserved !== undefined) return raised(`it has the reserved ${reserved} set`);
  const added = flagNames(cr4Flags, value & ~view.special.cr4).map((each) => each.toLowerCase());
  for (const flag of added as Cr4Flag[]) {
    const lacking = lacks(view, CR4_FEATURES[flag]);
    if (lacking !== undefined) {
      return raised(`it sets ${flag.toUpperCase()} (bit ${cr4Flags[flag].bit}), ${lacking}`);
    }
  }
  const on = (flag: Cr4Flag) => getFlag(cr4Flags, flag, value) === true;
  if (view.efer("lma") && !on("pae")) return raised("PAE may not be cleared in long mode");
  if (view.efer("lma") && on("la57") !== view.cr4("la57")) {
    return raised("LA57 may not be changed in long mode");
  }
  if (on("pcide") && !view.cr4("pcide")) {
    if (!view.efer("lma")) return raised("PCIDE needs long mode");
    if (view.special.cr3 & 0xfffn) return raised("PCIDE needs bits 11:0 of CR3 to be 0");
  }
  return undefined;
}

function lacks({ incident: { features } }: GuestView, feature?: CpuidFeature): string | undefined {
  if (feature === undefined || features === undefined || features.has(feature)) return undefined;
  return `which this CPU lacks (CPUID has no ${feature})`;
}

function unknownBits(value: bigint, table: FlagTable): string | undefined {
  const unknown = value & ~flagMask(table);
  if (unknown === 0n) return undefined;
  const bits: number[] = [];
  for (let bit = 0; unknown >> BigInt(bit); bit++) if (unknown >> BigInt(bit) & 1n) bits.push(bit);
  return `bit${bits.length > 1 ? "s" : ""} ${bits.join(", ")}`;
}

const EFER = 0xc0000080n;
/** MSRs that hold linear addresses: FS, GS and kernel GS base; LSTAR, CSTAR. */
const ADDRESS_MSRS = [0xc0000100n, 0xc0000101n, 0xc0000102n, 0xc0000082n, 0xc0000083n];
/** SYSENTER's ESP and EIP, which have 32 bits on AMD's processors. */
const SYSENTER_MSRS = [0x175n, 0x176n];

/** What WRMSR writes where. */
function written({ incident: { registers } }: GuestView): { number: bigint; value: bigint } {
  return {
    number: registerValue("ecx", registers),
    value: registerValue("edx", registers) << 32n | registerValue("eax", registers),
  };
}

function checkAddressMsr(view: GuestView): Raised | undefined {
  const { number, value } = written(view);
  const isAddress = ADDRESS_MSRS.includes(number) ||
    (view.incident.vendor === "intel" && SYSENTER_MSRS.includes(number));
  if (!isAddress) return undefined;
  return checkCanonical(view, value, `MSR ${msrText(Number(number))}`, ["rcx", "rax", "rdx"]);
}

function checkWrmsr(view: GuestView): Raised | undefined {
  const { number, value } = written(view);
  const raised = (reason: string, involved: string[] = []) =>
    raise("#GP", `MSR ${msrText(Number(number))} = ${hex(value)}: ${reason}`, {
      errorCode: 0,
      registers: ["rcx", "rax", "rdx", ...involved],
    });
  if (number !== EFER) return undefined;
  const reserved = unknownBits(value, eferFlags);
  if (reserved !== undefined) return raised(`it sets the reserved ${reserved}`);
  for (const flag of flagNames(eferFlags, value & ~view.special.efer)) {
    const name = flag.toLowerCase() as EferFlag;
    const lacking = lacks(view, EFER_FEATURES[name]);
    if (lacking !== undefined) return raised(`it sets ${flag}, ${lacking}`);
  }
  const changesLme = getFlag(eferFlags, "lme", value) !== view.efer("lme");
  if (changesLme && view.cr0("pg")) {
    return raised("LME may not be changed while CR0.PG = 1", ["cr0"]);
  }
  return undefined;
}

function checkXsetbv(view: GuestView): Raised | undefined {
  const { registers } = view.incident;
  const value = registerValue("edx", registers) << 32n | registerValue("eax", registers);
  const raised = (reason: string) =>
    raise("#GP", `XCR${registerValue("ecx", registers)} = ${hex(value)}: ${reason}`, {
      errorCode: 0,
      registers: ["rcx", "rax", "rdx"],
    });
  if (registerValue("ecx", registers) !== 0n) return raised("there is XCR0 only");
  if ((value & 1n) === 0n) return raised("bit 0 (x87) must be 1");
  if (value & 4n && !(value & 2n)) return raised("AVX (bit 2) needs SSE (bit 1)");
  return undefined;
}
