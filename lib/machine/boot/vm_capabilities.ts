import { CAPABILITIES, type CapabilityName } from "../../kvm/abi/capabilities.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/** The most arguments that KVM_ENABLE_CAP takes. */
const MOST_ARGUMENTS = 4;

/** Capabilities of a VM by name, each with the argument or the arguments that switch it on. */
export type VmCapabilities = {
  readonly [Name in CapabilityName]?: number | bigint | readonly (number | bigint)[];
};

/** A capability with the arguments that switch it on. */
export interface EnabledCapability {
  /** Its name. */
  readonly name: CapabilityName;
  /** The arguments. */
  readonly args: readonly (number | bigint)[];
}

/**
 * Reads the option `capabilities`.
 *
 * @throws {RangeError} When there is none of a name, or it has too many arguments.
 */
export function planCapabilities(capabilities: VmCapabilities): EnabledCapability[] {
  return Object.entries(capabilities).flatMap(([name, given]) => {
    if (!Object.hasOwn(CAPABILITIES, name)) {
      throw new RangeError(
        `Cannot enable ${
          JSON.stringify(name)
        }: there is no capability of that name; the nearest are ${
          nearestNames(name, Object.keys(CAPABILITIES)).join(", ")
        }`,
      );
    }
    if (given === undefined) return [];
    const args = typeof given === "object" ? given : [given];
    if (args.length > MOST_ARGUMENTS) {
      throw new RangeError(
        `Cannot enable ${name} with ${args.length} arguments: a capability takes ${MOST_ARGUMENTS} at the most`,
      );
    }
    return [{ name: name as CapabilityName, args }];
  });
}
