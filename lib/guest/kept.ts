import type { Dependency } from "./dependencies.ts";

/** Something that was made from a text and from files. */
export interface Kept<Value> {
  /** What was made. */
  readonly value: Value;
  /** The files that it was made from: once one of them has changed, it does not count. */
  readonly dependencies: readonly Dependency[];
}
