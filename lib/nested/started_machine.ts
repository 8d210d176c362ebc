import type { MachineProcess } from "./machine_process.ts";

/** What comes out of a machine. */
export interface MachineStreams {
  /** Its own words, in lines. */
  control: ReadableStream<Uint8Array>;
  /** The command's standard output. */
  stdout: ReadableStream<Uint8Array>;
  /** The command's standard error. */
  stderr: ReadableStream<Uint8Array>;
  /** A tar archive of the files that come back. */
  files: ReadableStream<Uint8Array>;
}

/** A machine that runs: its process and the ways to it. Disposing it ends it at once. */
export interface StartedMachine extends AsyncDisposable {
  /** Its program's process. */
  readonly process: MachineProcess;
  /** Waits until the machine is there, and gives the same streams each time. */
  streams(): Promise<MachineStreams>;
  /** Gives the machine, which waits for it, its word to start, in one line without its end; the job disk must be filled. */
  tell(word: string): Promise<void>;
}
