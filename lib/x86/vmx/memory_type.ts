import { nearestNames } from "../nearest_names.ts";

/** The memory types of VMX's structures and of EPT (Intel SDM Vol. 3A, 11.3). */
export type VmxMemoryType = "UC" | "WC" | "WT" | "WP" | "WB";

/** Their encoding (Intel SDM Vol. 3A, table 11-10). */
const MEMORY_TYPES: Readonly<Record<VmxMemoryType, number>> = {
  UC: 0,
  WC: 1,
  WT: 4,
  WP: 5,
  WB: 6,
};

/**
 * The encoding of a memory type.
 *
 * @param allowed Those that the place may have; all where left out.
 * @throws {RangeError} When there is none of that name, or the place may not have it.
 */
export function memoryTypeCode(
  type: VmxMemoryType,
  allowed: readonly VmxMemoryType[] = ["UC", "WC", "WT", "WP", "WB"],
): number {
  if (allowed.includes(type)) return MEMORY_TYPES[type];
  throw new RangeError(
    `Cannot use the memory type "${type}": here it is one of ${
      nearestNames(type, allowed, allowed.length).join(", ")
    }`,
  );
}

/** The name of a memory type's encoding, or undefined where it is reserved. */
export function memoryTypeName(code: number): VmxMemoryType | undefined {
  return (Object.keys(MEMORY_TYPES) as VmxMemoryType[]).find((name) => MEMORY_TYPES[name] === code);
}
