import { kvm_debugregs } from "../../kvm/abi/structs/registers.ts";
import type { GeneralRegisters, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Cpu } from "../cpu.ts";
import { isAmd } from "../../x86/cpuid/cpuid.ts";
import { sourceLineAt } from "../registers/code_location.ts";
import { memoryReader } from "../memory/physical_memory.ts";
import { decoded, type Moment, registersOf } from "./steps.ts";

/** Instructions that a guest has executed, and what came of the last. */
interface IncidentSteps extends Pick<Incident, "interrupt" | "exception"> {
  /** The moments before each, oldest first: before the one that failed comes last. */
  readonly moments: readonly Moment[];
}

/**
 * What is known of a CPU that stands before an instruction that it cannot complete.
 *
 * @param boot The registers that it was booted with.
 */
export function incidentOf(
  cpu: Cpu,
  { moments, interrupt, exception }: IncidentSteps,
  boot?: Readonly<GeneralRegisters & SpecialRegisters>,
): Incident {
  const texts = decoded(moments).map(({ text }) => text);
  const last = moments.length - 1;
  const { linear, bits, bytes } = moments[last];
  const debug = kvm_debugregs.read(cpu.store.view("debug"));
  return {
    ...registersOf(moments[last]),
    debugRegisters: [...debug.db, debug.dr6, debug.dr7],
    instruction: { linear, bits, bytes, text: texts[last] },
    interrupt,
    exception,
    read: memoryReader(cpu.memory),
    steps: moments.slice(0, -1).map((moment, index) => ({
      linear: moment.linear,
      bits: moment.bits,
      text: texts[index],
      ...registersOf(moment),
    })),
    ...boot === undefined ? {} : { boot: { registers: boot, specialRegisters: boot } },
    source: (linear) => sourceLineAt(cpu, linear),
    features: new Set(cpu.cpuid.features),
    vendor: isAmd(cpu.cpuid.entries) ? "amd" : "intel",
  };
}
