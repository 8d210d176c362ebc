import type { Assembler } from "../../lib/guest/assemble.ts";
import { toolHost } from "../../lib/guest/tool.ts";

/** An assembler of this machine's NASM that records what is run and what is printed. */
export interface CountingAssembler extends Assembler {
  /** The arguments of every run. */
  readonly runs: (readonly string[])[];
  /** Every warning that was printed. */
  readonly printed: string[];
}

/** A new one with these caches. */
export function countingAssembler(
  caches: Pick<Assembler, "memory" | "disk"> = {},
): CountingAssembler {
  const runs: (readonly string[])[] = [];
  const printed: string[] = [];
  return {
    ...caches,
    runs,
    printed,
    warn: (text) => void printed.push(text),
    host: {
      libc: toolHost.libc,
      run(command, args, folder) {
        runs.push(args);
        return toolHost.run(command, args, folder);
      },
    },
  };
}
