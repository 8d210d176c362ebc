import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { CpuRunner } from "../run/cpu_runner.ts";
import type { RunLoop } from "../run/run_loop.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/** More exits than an instruction has: one that stores vector registers to MMIO has an exit for every 8 bytes. */
const MOST_PARTS = 2048;

/**
 * Has KVM finish the instruction that a CPU is in the middle of, one whose exit waits for its answer, say: else KVM would
 * finish it at the next run, in whatever state the CPU is by then. What comes of it is nobody's affair: registers and
 * memory are about to be set.
 */
export function abandonInstruction(vcpu: Vcpu, loop: RunLoop): void {
  if (!loop.isInMiddle) return;
  vcpu.kvmRun.immediateExit = true;
  try {
    for (let count = 0; count < MOST_PARTS; count++) {
      if (vcpu.run() !== 0) return loop.reset();
      // A string instruction ends with the element that it has come to.
      vcpu.registers.setRegs({ ...vcpu.registers.getRegs(), rcx: 1n });
    }
  } finally {
    vcpu.kvmRun.immediateExit = false;
  }
  throw new Error(`An instruction of the guest's does not end after ${MOST_PARTS} exits.`);
}

/** Exits behind which a CPU is in no state but the one that KVM shows. */
const ORDINARY_EXITS: readonly number[] = [
  EXIT_REASON.IO,
  EXIT_REASON.MMIO,
  EXIT_REASON.HLT,
  EXIT_REASON.INTR,
  EXIT_REASON.IRQ_WINDOW_OPEN,
];

/**
 * Whether all of the state that a machine's CPUs are in is state that KVM shows and takes: an instruction that waits for its
 * answer is given up for that.
 */
export function showsAllState(log: ExitRecorder, runners: readonly CpuRunner[]): boolean {
  return log.hasOnly(ORDINARY_EXITS) && runners.every(({ parts: { vcpu, loop } }) => {
    const { exitReason } = vcpu.kvmRun;
    // Without an exit: it has not run, or was interrupted.
    if (exitReason !== EXIT_REASON.UNKNOWN && !ORDINARY_EXITS.includes(exitReason)) return false;
    try {
      abandonInstruction(vcpu, loop);
      return true;
    } catch {
      // It does not end, or the machine that has KVM has ended.
      return false;
    }
  });
}
