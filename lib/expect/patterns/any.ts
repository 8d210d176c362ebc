/** The type of {@linkcode any}. */
export type Any = typeof any;

/**
 * Stands for any port or address in a pattern.
 *
 * @example
 * ```ts
 * import { any, portOut } from "@vmexit/vmexit";
 *
 * const somewhere = portOut(any, "x");
 * ```
 */
export const any: unique symbol = Symbol("any");
