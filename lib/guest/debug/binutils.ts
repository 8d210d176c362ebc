import { mayRun } from "../cache_folder.ts";
import { toolCommands, type ToolHost, type ToolName } from "../tool.ts";

/** The programs that read debug information: those of GNU binutils, and gdb. */
export type Reader = Extract<ToolName, "readelf" | "addr2line" | "c++filt" | "gdb">;

/** What a reader has said. */
export interface Reading {
  /** What it has found; empty where it could not be run. */
  readonly text: string;
  /** What it complains of, or why it could not be run; undefined where all is well. */
  readonly complaint: string | undefined;
  /** Whether there is no such program, or it may not be run. */
  readonly isMissing?: boolean;
}

/** Damaged debug information may keep a reader busy for ever. */
const TIME_LIMIT_SECONDS = 30;

/** Exit codes of timeout(1). */
const TIMEOUT = { EXPIRED: 124, NO_SUCH_COMMAND: 127, KILLED: 137 } as const;

/** Signals' numbers are behind this in the exit codes of those that they end. */
const FIRST_SIGNAL_CODE = 128;

/** What to do where there is none. */
const HOW_TO_GET_IT = "apt-get install binutils, or `vmexit setup`";

/**
 * Runs a reader of debug information. Nobody is asked for a permission, and nothing is thrown: what is shown of a
 * failed test must not fail itself.
 */
export function runReader(host: ToolHost, name: Reader, args: readonly string[]): Reading {
  const commands = toolCommands(name);
  const permitted = commands.filter(mayRun);
  if (permitted.length === 0) {
    return {
      ...nothing(`it is not permitted to run ${name}: give --allow-run=${name}`),
      isMissing: true,
    };
  }
  for (const command of permitted) {
    const [program, ...before] = limited(command);
    try {
      const result = host.run(program, [...before, ...args]);
      if (result.code === TIMEOUT.NO_SUCH_COMMAND) continue;
      if (result.code === TIMEOUT.EXPIRED || result.code === TIMEOUT.KILLED) {
        return nothing(`${name} did not end in ${TIME_LIMIT_SECONDS} s`);
      }
      if (result.code >= FIRST_SIGNAL_CODE) {
        return nothing(`${name} was ended by signal ${result.code - FIRST_SIGNAL_CODE}`);
      }
      return { text: result.stdout, complaint: firstComplaint(name, result.stderr) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      return nothing(`${name} could not be run: ${(error as Error).message}`);
    }
  }
  return { ...nothing(`${name} is not there: ${HOW_TO_GET_IT}`), isMissing: true };
}

const nothing = (complaint: string): Reading => ({ text: "", complaint });

/** A command with a limit to its time, where that can be set, and with its libraries where those lie beside it. */
function limited(command: string): string[] {
  if (!mayRun("timeout")) return [command];
  const unpacked = /^(.+)\/usr\/bin\/[^/]+$/.exec(command)?.[1];
  const libraries = unpacked === undefined
    ? []
    : ["env", `LD_LIBRARY_PATH=${unpacked}/usr/lib/x86_64-linux-gnu`];
  return ["timeout", "-k", "1", String(TIME_LIMIT_SECONDS), ...libraries, command];
}

/** Files of debug information alone have the headers of all sections (objcopy(1), `--only-keep-debug`). */
const EMPTY_IN_SPLIT_FILES = /\.note\.gnu\.build-id section is corrupt\/empty/;

/** The first line of what it complains of, without its own name and the file's, which may be one in memory. */
function firstComplaint(name: Reader, stderr: string): string | undefined {
  const line = stderr.split("\n").map((each) => each.trim())
    .find((each) => each !== "" && !EMPTY_IN_SPLIT_FILES.test(each));
  return line === undefined
    ? undefined
    : `${name}: ${
      line.replace(/^\S*(?:readelf|addr2line|c\+\+filt|gdb): /, "")
        .replace(/^(?:warning|error): /i, "").replace(/\/proc\/\d+\/fd\/\d+/g, "the file")
    }`;
}
