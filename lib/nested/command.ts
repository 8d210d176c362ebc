import type { FileIn } from "./collect_files.ts";

/** What a command inside is given, and what comes back. */
export interface CommandOptions {
  /** Its working directory inside, absolute; the host's current one unless told. */
  cwd?: string;
  /** Its environment beside `PATH`, `HOME` and what tells it that it runs nested. Nothing else is inherited. */
  env?: Record<string, string>;
  /** Files and folders of the host that it finds inside: absolute paths, or more exactly said. */
  filesIn?: readonly (string | FileIn)[];
  /** Files and folders inside: what the command made or changed there is copied to the same path on the host. */
  filesOut?: readonly string[];
  /** Hears the command's standard output as it comes; without it the output is returned. */
  onStdout?: (chunk: Uint8Array) => void;
  /** Hears the command's standard error as it comes; without it the output is returned. */
  onStderr?: (chunk: Uint8Array) => void;
  /** Seconds that the command may take; 1800 unless told. */
  limit?: number;
  /** Seconds without a sign of life after which the machine counts as frozen; 120 unless told. */
  silence?: number;
}

/** How a command inside ended. */
export interface CommandResult {
  /** Its exit code. */
  code: number;
  /** Its standard output, if nobody heard it. */
  stdout: Uint8Array;
  /** Its standard error, if nobody heard it. */
  stderr: Uint8Array;
  /** Paths on the host of the files that were copied back. */
  files: string[];
}
