import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { ExitLog } from "../exits/exit_log.ts";
import { heldBack } from "../interrupts/held_back.ts";
import { wakeSources } from "../interrupts/wake_sources.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** Operation command word 2 of the 8259A (Intel 231468, figure 8): its selector is clear, and the bit of an EOI is set. */
const OCW2 = { SELECT: 0x18, EOI: 0x20 } as const;

/**
 * Of a guest that waits in HLT, or was stopped on its way: which interrupts are held back, and by what; where it waits,
 * what could wake it. Empty for all others, whose handlers may be at work.
 */
export function interruptsSection(machine: StoppedCpu): string[] {
  const { lastExit, isAtExit, registers, interruptControllers, log } = machine;
  if (isAtExit && lastExit?.reason !== "HLT") return [];
  const lines = heldBack(
    interruptControllers,
    registers.rflags.if,
    (port) => lastEoi(log, port === 0x20 ? 0xa0 : 0x20),
  );
  const rows = lines.length > 0 ? lines : waitingFor(machine);
  return rows.length === 0 ? [] : ["interrupts", ...rows.map((line) => `    ${line}`)];
}

/** What could wake a CPU in HLT, for which nothing waits yet. */
function waitingFor({ isAtExit, mpState, registers, interruptControllers }: StoppedCpu): string[] {
  if (!isAtExit && mpState !== "HALTED") return [];
  if (registers.rflags.if) {
    return [
      "none waits. What could wake the CPU, whose RFLAGS.IF is set:",
      ...wakeSources(interruptControllers).map((line) => `    ${line}`),
    ];
  }
  // One that has halted so, and made an exit of it, has come to its end.
  return isAtExit ? [] : ["RFLAGS.IF is clear: nothing but NMI, SMI and INIT wakes the CPU"];
}

/** Where the other of the two has had its last EOI, as far as the log knows. */
function lastEoi(log: ExitLog, port: number): string | undefined {
  const eoi = log.records().findLast(({ reason, isWrite, address, value }) =>
    reason === EXIT_REASON.IO && isWrite && address === port && value !== undefined &&
    (Number(value) & OCW2.SELECT) === 0 && (Number(value) & OCW2.EOI) !== 0
  );
  return eoi && `port 0x${port.toString(16)} got one at exit ${eoi.number}`;
}
