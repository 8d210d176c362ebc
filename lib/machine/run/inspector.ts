import { readText } from "../../ffi/read_text.ts";
import { libc } from "../../ffi/real_libc.ts";

const FLAG = /^--inspect(-brk|-wait)?(=|$)/;

let known: boolean | undefined;

/**
 * Whether this process was started for a debugger (`--inspect` and its kin): a person who looks at a breakpoint takes as long as it
 * takes, so that no time limit is in force. By the command line, because Node's inspector wants a permission for the question.
 */
export function isInspected(): boolean {
  return known ??= (readText(libc(), "/proc/self/cmdline") ?? "").split("\0")
    .some((word) => FLAG.test(word));
}
