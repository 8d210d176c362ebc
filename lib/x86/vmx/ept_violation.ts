import { flagAt, type FlagTable } from "../registers/flags.ts";

/** Flags of the exit qualification of an EPT violation (Intel SDM Vol. 3C, table 27-7). */
export type EptViolationFlag =
  | ("read" | "write" | "fetch" | "readable" | "writable" | "executable" | "user_executable")
  | ("linear_valid" | "final" | "user_linear" | "writable_linear" | "execute_disable_linear")
  | "nmi_unblocking_iret";

/**
 * The exit qualification of an EPT violation by name: what was tried (`read`, `write`, `fetch`), what the
 * entries allow, and, where `linear_valid` is set, whether the guest's own address was translated (`final`)
 * or an entry of its page tables.
 */
export const eptViolationFlags: FlagTable<EptViolationFlag> = {
  read: flagAt(0),
  write: flagAt(1),
  fetch: flagAt(2),
  readable: flagAt(3),
  writable: flagAt(4),
  executable: flagAt(5),
  user_executable: flagAt(6),
  linear_valid: flagAt(7),
  final: flagAt(8),
  user_linear: flagAt(9),
  writable_linear: flagAt(10),
  execute_disable_linear: flagAt(11),
  nmi_unblocking_iret: flagAt(12),
};
