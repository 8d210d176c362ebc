import type { CpuState } from "../cpu_state.ts";
import { describeWalk } from "../../paging/describe_walk.ts";
import { hex } from "../../hex.ts";
import { walkPageTables } from "../../paging/page_walk.ts";
import { pagingModeOf } from "../../paging/paging_mode.ts";

/** What the CPU uses by linear addresses when it delivers a fault to the catcher. */
const NEEDED: ReadonlySet<string> = new Set([
  "GDT",
  "TSS",
  "IDT",
  "fault stubs",
  "stack of the fault stubs",
]);

const QUADWORD = 8;

/**
 * The state itself; a state with a fault catcher only if its page tables map all that the catcher needs onto
 * itself: without that the first fault would be a triple fault.
 *
 * @throws {RangeError} Where they do not; the message has the walk.
 */
export function withCatcherMapped(state: CpuState): CpuState {
  const { specialRegisters, writes } = state;
  if (state.faultCatcher === undefined || pagingModeOf(specialRegisters) === undefined) {
    return state;
  }
  const { cr3, cr4, efer } = specialRegisters;
  const read = (gpa: number): bigint => {
    const write = writes.find((each) => gpa >= each.gpa && gpa < each.gpa + each.bytes.length);
    if (write === undefined) return 0n;
    const view = new DataView(write.bytes.buffer, write.bytes.byteOffset, write.bytes.byteLength);
    const offset = gpa - write.gpa;
    return offset + QUADWORD <= write.bytes.length ? view.getBigUint64(offset, true) : 0n;
  };
  for (const { what, gpa, bytes } of writes) {
    if (!NEEDED.has(what)) continue;
    for (const linear of [gpa, gpa + bytes.length - 1]) {
      const walk = walkPageTables({ cr3, cr4, efer, linear, read });
      if ("physical" in walk.result && walk.result.physical === linear) {
        if (what !== "fault stubs" || walk.result.executable) continue;
      }
      throw new RangeError(
        `Cannot catch faults: the page tables do not map the ${what} at ${hex(gpa)} onto itself${
          what === "fault stubs" ? ", for code" : ""
        }. Map its page, or leave out \`catchFaults\`.\n${
          describeWalk(walk).map((line) => `  ${line}`).join("\n")
        }`,
      );
    }
  }
  return state;
}
