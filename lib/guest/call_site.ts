import { permitted } from "./cache_folder.ts";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** A place in a source file. */
export interface CallSite {
  /** The module's path where it is a local file, else its URL. */
  readonly file: string;
  /** The module's URL; empty where there is no module. */
  readonly url: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 code units; of a tagged template, that of its first backtick. */
  readonly column: number;
  /** The folder of a local file. */
  readonly folder?: string;
}

const URL_SCHEME = /^[a-z][a-z0-9+.-]+:/i;
const FRAME = /\(?([a-z][a-z0-9+.-]*:.*):(\d+):(\d+)\)?$/;
/** For code that stands in no module, such as what `eval` runs. */
const NOWHERE: CallSite = { file: "<anonymous>", url: "", line: 1, column: 1 };

/**
 * Where the caller of `callee` stands, from V8's stack trace, which Deno maps to the TypeScript source.
 *
 * @param callee The function whose caller is asked for. It must be on the stack.
 */
// deno-lint-ignore ban-types -- captureStackTrace takes any function
export function callSite(callee: Function): CallSite {
  return callSites(callee, 1)[0] ?? NOWHERE;
}

/**
 * Where the caller of `callee` stands, and the callers of that, the innermost first.
 *
 * @param most How many frames of the stack are looked at.
 */
// deno-lint-ignore ban-types -- captureStackTrace takes any function
export function callSites(callee: Function, most: number): CallSite[] {
  const limit = Error.stackTraceLimit;
  const holder: { stack?: string } = {};
  try {
    // A program may have set it to 0 to save time.
    Error.stackTraceLimit = most;
    Error.captureStackTrace(holder, callee);
  } finally {
    Error.stackTraceLimit = limit;
  }
  const rows = holder.stack?.split("\n").map((row) => row.trim()) ?? [];
  return rows.filter((row) => row.startsWith("at ")).flatMap((row) => {
    const [, url, line, column] = FRAME.exec(row) ?? [];
    return url === undefined
      ? []
      : [{ ...fileOf(url), url, line: Number(line), column: Number(column) }];
  });
}

function fileOf(url: string): Pick<CallSite, "file" | "folder"> {
  if (!url.startsWith("file://")) return { file: url };
  const file = fileURLToPath(url);
  return { file, folder: dirname(file) };
}

/** Runs `body`; the stack of an error out of it begins at the line that called `callee`. */
// deno-lint-ignore ban-types -- captureStackTrace takes any function
export function atCaller<Result>(callee: Function, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error, callee);
    throw error;
  }
}

/**
 * The path of a file of this machine.
 *
 * @param folder What a relative path counts from.
 * @param what What the file is to be, for messages: "an .asm file".
 * @throws {TypeError} When `path` is neither a path nor a `file:` URL.
 */
export function localPath(path: string | URL, folder: string, what: string): string {
  if (path === "" || typeof path !== "string" && !(path instanceof URL)) {
    const given = path === "" ? '""' : String(path);
    throw new TypeError(`Cannot use ${given} as ${what}: give a path or a file: URL`);
  }
  if (typeof path === "string" && !URL_SCHEME.test(path)) return resolve(folder, path);
  const url = new URL(path);
  if (url.protocol !== "file:") {
    throw new TypeError(
      `Cannot use ${url} as ${what}: it is no file of this machine; give a path or a file: URL`,
    );
  }
  return fileURLToPath(url);
}

/**
 * Refuses a path where there is no file, as far as that may be found out without asking.
 *
 * @throws {Deno.errors.NotFound}
 */
export function checkFileIsThere(file: string): void {
  if (!permitted(file, "read")) return;
  try {
    Deno.statSync(file);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) return;
    throw new Deno.errors.NotFound(
      `Cannot read ${file}: there is no such file; a relative path counts from the folder of the module that calls`,
    );
  }
}
