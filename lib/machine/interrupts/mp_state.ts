import { KVM_MP_STATE } from "../../kvm/abi/mod.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/** The multiprocessing states that a vCPU of x86 has (`KVM_GET_MP_STATE`, api.rst 4.38). */
export type MpState =
  /** It runs, when it is asked to. */
  | "RUNNABLE"
  /** It waits for an INIT: an application processor of a machine with interrupt controllers. */
  | "UNINITIALIZED"
  /** It has had an INIT, and waits for a SIPI. */
  | "INIT_RECEIVED"
  /** It has executed HLT, and waits for an interrupt. */
  | "HALTED"
  /** It has just had a SIPI. */
  | "SIPI_RECEIVED"
  /** It is held by an AP reset hold. */
  | "AP_RESET_HOLD";

const STATES: readonly MpState[] = [
  "RUNNABLE",
  "UNINITIALIZED",
  "INIT_RECEIVED",
  "HALTED",
  "SIPI_RECEIVED",
  "AP_RESET_HOLD",
];

/** A state by the number that KVM has for it. */
export function mpStateOf(number: number): MpState {
  const found = STATES.find((name) => KVM_MP_STATE[name] === number);
  if (found !== undefined) return found;
  throw new RangeError(`Cannot name the MP state ${number}: no vCPU of x86 has it`);
}

/** The number that KVM has for a state. @throws {RangeError} When there is none of that name. */
export function mpStateNumber(name: MpState): number {
  if (STATES.includes(name)) return KVM_MP_STATE[name];
  throw new RangeError(
    `Cannot set the MP state as "${name}": there is none of that name; the nearest are ${
      nearestNames(String(name), STATES).join(", ")
    }`,
  );
}
