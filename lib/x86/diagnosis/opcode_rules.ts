import type { CpuidFeature } from "../cpuid/cpuid_features.ts";
import { hexBytes } from "../hex.ts";
import type { GuestView } from "./guest_view.ts";
import type { ReadInstruction } from "./operands.ts";
import { cause, raise, type Raised } from "./raised.ts";

/** Which instructions LOCK may stand before, with a destination in memory (Intel SDM Vol. 2A, LOCK). */
const LOCKABLE =
  /^(add|adc|and|bt[crs]|cmpxchg(8b|16b)?|dec|inc|neg|not|or|sbb|sub|xor|xadd|xchg)$/;

const X87 = /^f(?!xsave|xrstor|emms|winit$|clex$)\w+$/;
const VECTOR_REGISTER = /^[xyz]mm\d+$/;
const XMM = /^xmm\d+$/;

/** Instructions that are there in a mode only, or by a switch, with the rule. */
const SWITCHED: readonly {
  readonly names: RegExp;
  readonly isOn: (view: GuestView) => boolean;
  readonly why: string;
  readonly registers?: readonly string[];
}[] = [
  {
    names: /^(ltr|str|lldt|sldt|lar|lsl|verr|verw|arpl)$/,
    isOn: (view) => !view.hasRealSegments,
    why: "it is not there in real and virtual-8086 mode (CR0.PE = 0)",
    registers: ["cr0"],
  },
  {
    names: /^(xsave\w*|xrstor\w*|xgetbv|xsetbv)$/,
    isOn: (view) => view.cr4("osxsave"),
    why: "CR4.OSXSAVE (bit 18) = 0",
    registers: ["cr4"],
  },
  {
    names: /^(rd|wr)[fg]sbase$/,
    isOn: (view) => view.mode === "64-bit" && view.cr4("fsgsbase"),
    why: "it needs 64-bit mode and CR4.FSGSBASE (bit 16) = 1",
    registers: ["cr4"],
  },
  {
    names: /^swapgs$/,
    isOn: (view) => view.mode === "64-bit",
    why: "it is there in 64-bit mode only",
  },
  {
    names: /^sys(call|ret)$/,
    isOn: (view) => view.efer("sce") && (view.incident.vendor === "amd" || view.mode === "64-bit"),
    why: "it needs EFER.SCE (bit 0) = 1, and 64-bit mode on Intel's processors",
    registers: ["efer"],
  },
  {
    names: /^(vmrun|vmload|vmsave|clgi|skinit|invlpga)$/,
    isOn: (view) => view.efer("svme"),
    why: "EFER.SVME (bit 12) = 0",
    registers: ["efer"],
  },
  {
    names:
      /^(vmxon|vmxoff|vmptrld|vmptrst|vmclear|vmread|vmwrite|vmlaunch|vmresume|invept|invvpid)$/,
    isOn: (view) => view.cr4("vmxe"),
    why: "CR4.VMXE (bit 13) = 0",
    registers: ["cr4"],
  },
  { names: /^rsm$/, isOn: () => false, why: "it is there in system-management mode only" },
];

/** The #UD or #NM of an instruction that is not there (Intel SDM Vol. 2, and Vol. 3A, 2.5 and 13.1). */
export function checkOpcode(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands } = instruction;
  const [first] = operands;
  const { bytes } = view.incident.instruction;
  if (mnemonic === "") return undefined;
  if (/^d[bwd]$|^rex\./.test(mnemonic)) {
    return raise("#UD", `the bytes ${hexBytes(bytes.subarray(0, 4))} … are no instruction`);
  }
  if (/^ud\d/.test(mnemonic)) return raise("#UD", "it is there to raise #UD");
  if (mnemonic === "mov" && first?.kind === "register" && first.name === "cs") {
    return raise("#UD", "MOV cannot load CS: a far jump, call or return does", {
      registers: ["cs"],
    });
  }
  const control = operands.find((each) => each.kind === "register" && /^cr\d/.test(each.name));
  if (control?.kind === "register" && !/^cr[02348]$/.test(control.name)) {
    return raise("#UD", `there is no ${control.name.toUpperCase()}`);
  }
  const locked = checkLock(instruction);
  if (locked !== undefined) return locked;
  const switched = SWITCHED.find(({ names, isOn }) => names.test(mnemonic) && !isOn(view));
  if (switched !== undefined) {
    return raise("#UD", switched.why, { registers: switched.registers ?? [] });
  }
  return checkVector(view, instruction) ?? checkFpu(view, instruction);
}

/** The #UD of LOCK where it may not stand. */
export function checkLock(
  { mnemonic, operands: [first], prefixes }: ReadInstruction,
): Raised | undefined {
  if (!prefixes.includes("lock") || (LOCKABLE.test(mnemonic) && first?.kind === "memory")) {
    return undefined;
  }
  return raise("#UD", "LOCK may stand before instructions that read and write memory only");
}

function checkVector(view: GuestView, { mnemonic, operands }: ReadInstruction): Raised | undefined {
  const isVector =
    operands.some((each) => each.kind === "register" && VECTOR_REGISTER.test(each.name)) ||
    /^(ldmxcsr|stmxcsr)$/.test(mnemonic);
  if (!isVector) return undefined;
  if (mnemonic.startsWith("v") && mnemonic !== "verr") return checkAvx(view);
  const wrong = [
    ...view.cr4("osfxsr") ? [] : ["CR4.OSFXSR = 0"],
    ...view.cr0("em") ? ["CR0.EM = 1"] : [],
  ];
  const isXmm = operands.some((each) => each.kind === "register" && XMM.test(each.name));
  if (wrong.length > 0) {
    return raise("#UD", `SSE is off: ${wrong.join(", ")}${view.cr0("em") ? "" : " (CR0.EM = 0)"}`, {
      causes: [
        cause(
          "SSE is switched on by CR0.EM (bit 2) = 0, CR0.MP (bit 1) = 1, CR4.OSFXSR (bit 9) = 1 and CR4.OSXMMEXCPT " +
            `(bit 10) = 1 (Intel SDM Vol. 3A, 13.1)${isXmm ? cpuidText(view, "sse2", "SSE2") : ""}`,
        ),
      ],
      registers: ["cr4", ...view.cr0("em") ? ["cr0"] : []],
    });
  }
  if (view.cr0("ts")) return raiseTaskSwitched();
  return undefined;
}

/** CPUID's own word on a feature, where it is known. */
function cpuidText(
  { incident: { features } }: GuestView,
  feature: CpuidFeature,
  shown: string,
): string {
  if (features === undefined) return "";
  return `. CPUID has ${features.has(feature) ? shown : `no ${shown}: this CPU lacks it`}`;
}

const AVX_STATE = 0x6n;

function checkAvx(view: GuestView): Raised | undefined {
  const { xcr0 } = view.incident;
  const wrong = [
    ...view.cr4("osxsave") ? [] : ["CR4.OSXSAVE (bit 18) = 0"],
    ...xcr0 === undefined || (xcr0 & AVX_STATE) === AVX_STATE
      ? []
      : ["XCR0 lacks SSE (bit 1) or AVX (bit 2)"],
  ];
  if (wrong.length > 0) {
    return raise("#UD", `AVX is off: ${wrong.join(", ")}`, {
      causes: [
        cause(
          `AVX is switched on by CR4.OSXSAVE = 1, then XSETBV with ECX = 0, EAX = 7, EDX = 0 (Intel SDM Vol. 1, 14.3)${
            cpuidText(view, "avx", "AVX")
          }`,
        ),
      ],
      registers: ["cr4"],
    });
  }
  return view.cr0("ts") ? raiseTaskSwitched() : undefined;
}

function raiseTaskSwitched(): Raised {
  return raise("#NM", "CR0.TS (bit 3) = 1: CLTS clears it", { registers: ["cr0"] });
}

/** x87 and MMX (Intel SDM Vol. 3A, 2.5). */
function checkFpu(view: GuestView, { mnemonic, operands }: ReadInstruction): Raised | undefined {
  const usesMmx = mnemonic === "emms" ||
    operands.some((each) => each.kind === "register" && /^mm\d$/.test(each.name));
  if (usesMmx && view.cr0("em")) {
    return raise("#UD", "MMX is off: CR0.EM (bit 2) = 1", { registers: ["cr0"] });
  }
  const isX87 = X87.test(mnemonic) || /^fx(save|rstor)/.test(mnemonic);
  if (!usesMmx && !isX87) {
    return mnemonic === "wait" && view.cr0("mp") && view.cr0("ts")
      ? raiseTaskSwitched()
      : undefined;
  }
  if (view.cr0("em")) {
    return raise("#NM", "CR0.EM (bit 2) = 1 says that there is no x87", { registers: ["cr0"] });
  }
  return view.cr0("ts") ? raiseTaskSwitched() : undefined;
}
