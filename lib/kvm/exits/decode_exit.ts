import { KVM_RUN_X86 } from "../abi/constants.ts";
import { EXIT_REASON, type ExitReasonName } from "../abi/exit_reasons.ts";
import { kvm_run } from "../abi/structs/run.ts";
import type { Exit } from "./exit.ts";
import { EXITS, opaquePayload } from "./exit_table.ts";

const REASON = kvm_run.offsetOf("exit_reason");
const FLAGS = kvm_run.offsetOf("flags");

const REASON_NAMES: ReadonlyMap<number, ExitReasonName> = new Map(
  Object.entries(EXIT_REASON).map(([name, number]) => [number, name as ExitReasonName]),
);

/**
 * Decodes the exit that `kvm_run` holds, whole, into an object of its own: nothing of it lies over the
 * mapping.
 *
 * Of an IO exit whose data would reach past the mapping, `data` is the part that does not.
 *
 * @param view Over the vCPU's mapping, from its first byte.
 * @throws {RangeError} When the view is smaller than `kvm_run`. No content makes it throw.
 *
 * @example
 * ```ts
 * import { decodeExit } from "./decode_exit.ts";
 * import { EXIT_REASON } from "../abi/exit_reasons.ts";
 * import { kvm_run } from "../abi/structs/run.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const view = new DataView(new ArrayBuffer(4096));
 * kvm_run.write(view, 0, { exit_reason: EXIT_REASON.HLT });
 * assertEquals(decodeExit(view).reason, "HLT");
 * ```
 */
export function decodeExit(view: DataView): Exit {
  if (view.byteLength < kvm_run.size) {
    throw new RangeError(
      `Cannot decode an exit from ${view.byteLength} bytes: struct kvm_run has ${kvm_run.size}; ` +
        "give a view over the whole mapping of the vCPU",
    );
  }
  const number = view.getUint32(REASON, true);
  const flags = view.getUint16(FLAGS, true);
  const runFlags = {
    smm: (flags & KVM_RUN_X86.SMM) !== 0,
    busLock: (flags & KVM_RUN_X86.BUS_LOCK) !== 0,
    guestMode: (flags & KVM_RUN_X86.GUEST_MODE) !== 0,
  };
  // Of the commonest each field by itself: spreading them takes several times as long.
  if (number === EXIT_REASON.IO) {
    const { direction, port, size, count, data } = EXITS.IO.decode(view);
    return { reason: "IO", number, runFlags, direction, port, size, count, data };
  }
  if (number === EXIT_REASON.MMIO) {
    const { gpa, len, isWrite, data } = EXITS.MMIO.decode(view);
    return { reason: "MMIO", number, runFlags, gpa, len, isWrite, data };
  }
  const reason = REASON_NAMES.get(number);
  if (reason === undefined) {
    return { reason: "UNKNOWN_TO_VMEXIT", number, runFlags, ...opaquePayload(view) };
  }
  // The table's type says that each reason has its own payload; TypeScript cannot follow that through the
  // look-up.
  return { reason, number, runFlags, ...EXITS[reason].decode(view) } as Exit;
}
