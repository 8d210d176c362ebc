import type { MemoryWrite } from "../../lib/x86/placement.ts";

/** A reader of quadwords in a memory that holds `writes` and nothing else, for `walkPageTables`. */
export function memoryOf(writes: readonly MemoryWrite[]): (gpa: number) => bigint | undefined {
  return (gpa) => {
    const write = writes.find((each) => gpa >= each.gpa && gpa + 8 <= each.gpa + each.bytes.length);
    if (write === undefined) return undefined;
    return new DataView(write.bytes.buffer).getBigUint64(gpa - write.gpa, true);
  };
}
