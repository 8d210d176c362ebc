import { CAPABILITIES, type CapabilityName } from "../../kvm/abi/capabilities.ts";
import type { Vm } from "../../kvm/vm.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/** The most arguments that KVM_ENABLE_CAP takes. */
const MOST_ARGUMENTS = 4;

/** Capabilities of a VM by name, each with the argument or the arguments that switch it on. */
export type VmCapabilities = {
  readonly [Name in CapabilityName]?: number | bigint | readonly (number | bigint)[];
};

/**
 * Checks the names of capabilities, before any is asked for.
 *
 * @throws {RangeError} When there is none of a name, or it has too many arguments.
 */
export function checkCapabilities(capabilities: VmCapabilities): void {
  for (const [name, args] of Object.entries(capabilities)) {
    if (!Object.hasOwn(CAPABILITIES, name)) {
      throw new RangeError(
        `Cannot enable ${
          JSON.stringify(name)
        }: there is no capability of that name; the nearest are ${
          nearestNames(name, Object.keys(CAPABILITIES)).join(", ")
        }`,
      );
    }
    if (Array.isArray(args) && args.length > MOST_ARGUMENTS) {
      throw new RangeError(
        `Cannot enable ${name} with ${args.length} arguments: a capability takes ${MOST_ARGUMENTS} at the most`,
      );
    }
  }
}

/**
 * Switches capabilities of a VM on.
 *
 * @throws {CapabilityError} When the kernel lacks one.
 * @throws {KvmError} When it refuses its arguments.
 */
export function enableCapabilities(vm: Vm, capabilities: VmCapabilities): void {
  for (const [name, args] of Object.entries(capabilities)) {
    if (args === undefined) continue;
    vm.enableCap(name as CapabilityName, ...(Array.isArray(args) ? args : [args]));
  }
}
