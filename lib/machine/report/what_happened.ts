import { exceptionOf } from "../../x86/exceptions/exceptions.ts";
import { LONGEST_INSTRUCTION } from "../../guest/disassemble.ts";
import {
  explainIncident,
  explainRefusal,
  explainStop,
  isWorthRepeating,
} from "../../x86/diagnosis/explain_incident.ts";
import type { Finding, Incident } from "../../x86/diagnosis/incident.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { Image } from "../../guest/image.ts";
import { hex } from "../../x86/hex.ts";
import { PROTECTED_MODE, REAL_MODE } from "../../x86/layout.ts";
import { memoryReader } from "../memory/physical_memory.ts";
import { codeLocation, imageBaseAt, sourceLineAt } from "../registers/code_location.ts";
import { CodeView } from "./guest_code.ts";
import { symbolName } from "./place_names.ts";
import type { Postmortem } from "./postmortem.ts";
import { isAtExitOf, type StoppedCpu } from "./stopped_cpu.ts";

const NMI = exceptionOf("NMI").vector;

/** Columns of a finding's text. */
const COLUMNS = 100;

/** Why a guest could not go on: the chain of causes in words, as lines of a page. */
export function whatHappened({ cpu, incident, hasStrayed }: Postmortem): string[] {
  const explain = hasStrayed ? explainStop : explainIncident;
  return section("what happened", explain(incident, (linear) => nameOf(cpu, linear)));
}

/**
 * What is odd about a guest that has stopped elsewhere than it should, as lines of a page; none where nothing is.
 *
 * @param repeated What a repeated run shows, where there was one: its way.
 */
export function whatIsOdd(cpu: StoppedCpu, repeated: Postmortem | undefined): string[] {
  const stop = repeated?.incident ?? stopOf(cpu);
  // Intel's processors stand at a triple fault where the instruction has failed.
  const isRefused = isAtExitOf(cpu, "INTERNAL_ERROR", "SHUTDOWN");
  const explain = isRefused ? explainRefusal : explainStop;
  return section(
    isRefused ? "what happened" : "what is odd",
    explain(
      { ...stop, interrupt: stop.interrupt ?? eventOf(cpu) },
      (linear) => nameOf(cpu, linear),
    ),
  );
}

/** Whether a repeated run of a guest that has not shut down is worth its time. */
export function isWorthARun(cpu: StoppedCpu): boolean {
  return isWorthRepeating(stopOf(cpu), (linear) => nameOf(cpu, linear));
}

function section(title: string, findings: readonly Finding[]): string[] {
  if (findings.length === 0) return [];
  return [
    title,
    ...findings.flatMap(({ text }) =>
      wrapped(text).map((line, index) => `${index === 0 ? "    " : "      "}${line}`)
    ),
  ];
}

/** The state in which a CPU stands, as if its next instruction had failed. */
export function stopOf(cpu: StoppedCpu): Incident {
  const { vcpu } = cpu.kvm;
  const place = codeLocation(cpu);
  const code = new CodeView(cpu, place);
  const bytes = code.bytes(place.linear, LONGEST_INSTRUCTION);
  const [instruction] = code.instructions(place.linear, place.linear, 1) ?? [];
  return {
    registers: vcpu.registers.getRegs(),
    specialRegisters: vcpu.registers.getSregs(),
    instruction: {
      linear: place.linear,
      bits: place.bits,
      bytes: instruction?.bytes ?? bytes,
      text: instruction?.text ?? "",
    },
    read: memoryReader(cpu.memory),
    isDevice: (gpa) =>
      cpu.log.records().some(({ reason, address, answeredBy }) =>
        reason === EXIT_REASON.MMIO && address === gpa && answeredBy !== undefined
      ),
    steps: [],
    boot: { registers: cpu.bootRegisters, specialRegisters: cpu.bootRegisters },
    source: (linear) => sourceLineAt(cpu, linear),
    // Nothing that depends on the vendor is asked about a guest that has not failed.
    vendor: "intel",
  };
}

/** The event that KVM was about to deliver. */
function eventOf({ kvm: { vcpu } }: StoppedCpu): Incident["interrupt"] {
  const { interrupt, nmi } = vcpu.events.getVcpuEvents();
  if (nmi.injected !== 0) return { vector: NMI, source: "nmi" };
  if (interrupt.injected === 0) return undefined;
  return { vector: interrupt.nr, source: interrupt.soft === 0 ? "external" : "software" };
}

/** Whether a gate that leads there is one of those that a machine is booted with. */
function isOwnHandler(linear: bigint): boolean {
  const { faultStubs, code } = REAL_MODE;
  const { systemCallHandler, faultStack } = PROTECTED_MODE;
  return (linear >= faultStubs && linear < code) ||
    (linear >= systemCallHandler && linear < faultStack);
}

/** `"entry32+0x3 (boot.asm:14)"`; undefined where the image has nothing there. */
export function nameOf({ image, registers }: StoppedCpu, linear: bigint): string | undefined {
  const { imageBase } = imageBaseAt(image, linear, registers.cs.base);
  if (isOwnHandler(linear) && image.segmentAt(linear - imageBase) === undefined) {
    return "vmexit's handler";
  }
  const name = symbolName(image, linear - imageBase);
  const line = image.lineOf(linear - imageBase);
  const place = line && `${line.file.split("/").at(-1)}:${line.line}`;
  if (name === undefined) return place ?? withoutNames(image, linear - imageBase);
  return place === undefined ? name : `${name} (${place})`;
}

/** A place in an image that has no symbols: a binary file. */
function withoutNames(image: Image, address: bigint): string | undefined {
  const segment = image.segmentAt(address);
  return segment && `image+${hex(address - image.origin)}`;
}

/** A finding's text in lines. */
export function wrapped(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > COLUMNS) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}
