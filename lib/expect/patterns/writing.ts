import type { Exit } from "../../kvm/exits/exit.ts";
import { MISMATCH, type Occurrence, type PatternDefinition } from "./exit_pattern.ts";
import { type ExpectedData, remainingText, takeData } from "./expected_data.ts";

/**
 * The definition of a pattern of writes.
 *
 * @param definition What it is called, and which exits it names.
 * @param dataOf What the guest writes, where an exit is the write that comes after `done` bytes; else undefined.
 */
export function writing(
  definition: Pick<PatternDefinition, "text" | "names">,
  data: ExpectedData | undefined,
  dataOf: (exit: Exit, done: number) => Uint8Array | undefined,
): PatternDefinition {
  return {
    ...definition,
    begin(): Occurrence {
      let done = 0;
      return {
        get text() {
          return definition.text + remainingText(data, done);
        },
        offer(exit) {
          const bytes = dataOf(exit, done);
          const taken = bytes === undefined ? undefined : takeData(data, bytes, done);
          if (taken === undefined) return MISMATCH;
          done = taken.done;
          return { matches: true, complete: taken.complete };
        },
      };
    },
  };
}
