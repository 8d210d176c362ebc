import { hex } from "../../x86/hex.ts";
import { codeLocation } from "../registers/code_location.ts";
import { placeNames } from "./place_names.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** What is said of MP states in failure pages. */
const STATES: Readonly<Record<StoppedCpu["mpState"], string>> = {
  RUNNABLE: "",
  UNINITIALIZED: "waits for INIT",
  INIT_RECEIVED: "waits for a SIPI",
  HALTED: "halted, waits for an interrupt",
  SIPI_RECEIVED: "has had a SIPI",
  AP_RESET_HOLD: "held in reset",
};

/** What a page calls the CPU that it is about. */
export function subject({ machine, number }: StoppedCpu): string {
  return machine.cpus.length === 1 ? "guest" : `CPU ${number}`;
}

/** Which CPU a page or a message is about: `" of CPU 1"`, or nothing where there is only one. */
export function ofCpu({ machine, number }: StoppedCpu): string {
  return machine.cpus.length === 1 ? "" : ` of CPU ${number}`;
}

/** Where the other CPUs of a stopped machine are, and how to have the same run again: lines for failure pages. */
export function cpusSection(cpu: StoppedCpu): string[] {
  const others = cpu.machine.cpus.filter((each) => each !== cpu);
  if (others.length === 0) return [];
  return ["the other CPUs", ...others.map((each) => `    CPU ${each.number} ${placeText(each)}`)];
}

/** How to run a machine again as it ran; empty for one whose CPUs run by slices of time, or that has one. */
export function replayLines({ interleaving }: StoppedCpu): string[] {
  if (interleaving === undefined) return [];
  const { seed, instructions } = interleaving;
  const option = instructions === undefined
    ? `{ seed: ${seed} }`
    : `{ seed: ${seed}, instructions: ${instructions} }`;
  return [`interleaving seed ${seed}: boot with { interleaving: ${option} } to replay`];
}

function placeText(cpu: StoppedCpu): string {
  const { linear, imageBase } = codeLocation(cpu);
  const { image, isAtExit, lastExit } = cpu;
  const { mpState } = cpu;
  const isHalted = mpState === "HALTED" || (isAtExit && lastExit?.reason === "HLT");
  // A CPU that has halted stands behind its HLT, which has one byte.
  const address = isHalted ? linear - 1n : linear;
  const state = isAtExit && lastExit?.reason === "HLT" ? "halted" : STATES[mpState];
  return [
    `at ${hex(address)}`,
    ...placeNames(image, address - imageBase).slice(-1),
    ...state === "" ? [] : [state],
  ].join("  ");
}
