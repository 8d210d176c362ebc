import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** A place in a source file. */
export interface CallSite {
  /** The module's path where it is a local file, else its URL. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 code units; of a tagged template, that of its first backtick. */
  readonly column: number;
  /** The folder of a local file. */
  readonly folder?: string;
}

const FRAME = /\(?([a-z][a-z0-9+.-]*:.*):(\d+):(\d+)\)?$/;
/** For code that stands in no module, such as what `eval` runs. */
const NOWHERE: CallSite = { file: "<anonymous>", line: 1, column: 1 };

/**
 * Where the caller of `callee` stands, from V8's stack trace, which Deno maps to the TypeScript source.
 *
 * @param callee The function whose caller is asked for. It must be on the stack.
 */
// deno-lint-ignore ban-types -- captureStackTrace takes any function
export function callSite(callee: Function): CallSite {
  const limit = Error.stackTraceLimit;
  const holder: { stack?: string } = {};
  try {
    // A program may have set it to 0 to save time.
    Error.stackTraceLimit = 1;
    Error.captureStackTrace(holder, callee);
  } finally {
    Error.stackTraceLimit = limit;
  }
  const frame = holder.stack?.split("\n").find((row) => row.trim().startsWith("at "));
  const [, url, line, column] = FRAME.exec(frame?.trim() ?? "") ?? [];
  return url === undefined
    ? NOWHERE
    : { ...fileOf(url), line: Number(line), column: Number(column) };
}

function fileOf(url: string): Pick<CallSite, "file" | "folder"> {
  if (!url.startsWith("file://")) return { file: url };
  const file = fileURLToPath(url);
  return { file, folder: dirname(file) };
}
