import { url } from "node:inspector";

/**
 * Whether this process can be debugged now (`--inspect` and its kin): a person who looks at a breakpoint takes as long as it takes, so
 * that no time limit is in force.
 */
export function isInspected(): boolean {
  return url() !== undefined;
}
