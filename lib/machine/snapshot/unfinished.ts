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
