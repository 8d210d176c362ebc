/**
 * The name that a value has among constants whose names begin alike (`KVM_SYSTEM_EVENT` of `constants.ts`),
 * without what they begin with. Undefined where it has none.
 *
 * @example
 * ```ts
 * import { constantName } from "./constant_name.ts";
 * import { KVM_SYSTEM_EVENT } from "./constants.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(constantName(KVM_SYSTEM_EVENT, 2), "RESET");
 * assertEquals(constantName(KVM_SYSTEM_EVENT, 99), undefined);
 * ```
 */
export function constantName<Value extends number | bigint>(
  group: Readonly<Record<string, Value>>,
  value: Value,
): string | undefined {
  for (const name in group) if (group[name] === value) return name;
  return undefined;
}
