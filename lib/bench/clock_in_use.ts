import { emulatedMachineName } from "../machine/host/emulated_machine.ts";
import type { Clock } from "./results.ts";

/** What the nanoseconds of this process are: its KVM is hardware's, or an emulated machine's. */
export function clockInUse(): Clock {
  const machine = emulatedMachineName();
  if (machine === "qemu-icount") return "instructions";
  return machine === undefined ? "hardware" : "emulated";
}
