import { findProgram } from "./host_program.ts";
import { NESTED_TIMEOUT, NestedError } from "./nested_error.ts";
import type { RunFolder } from "./run_folder.ts";

/** How a machine's program is started. */
export interface MachineProcessOptions {
  /** The machine's name. */
  name: string;
  /** Its folder, which is the program's working directory. */
  run: RunFolder;
  /** Environment variables beside the inherited ones. */
  env?: Record<string, string>;
  /** Whether the program is spoken with on its standard input and output. */
  speaks?: boolean;
  /** Lines of its standard error that say nothing. */
  chatter?: RegExp;
  /** Ends the waiting for it. */
  signal?: AbortSignal;
}

/** The process of a started machine. */
export class MachineProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #run: RunFolder;
  #complaints = "";
  #ended = false;
  /** Rejects when the process ends, or when the signal is aborted. It never resolves. */
  readonly failure: Promise<never>;

  private constructor(child: Deno.ChildProcess, options: MachineProcessOptions) {
    const { name, run, chatter, signal } = options;
    this.#child = child;
    this.#run = run;
    const complaining = this.#collectComplaints();
    const died = child.status.then(async (status) => {
      this.#ended = true;
      await complaining;
      const how = status.signal ?? `exit code ${status.code}`;
      const lines = this.#complaints.trim().split("\n");
      const said = lines.filter((line) => !chatter?.test(line)).join("\n").trim();
      throw new NestedError(
        `The nested machine (${name}) stopped by itself: ${how}${said === "" ? "" : `\n${said}`}`,
        { console: await run.consoleTail() },
      );
    });
    const aborted = new Promise<never>((_, reject) => {
      if (signal?.aborted) reject(signal.reason);
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    this.failure = Promise.race([died, aborted]);
    // Whoever waits hears of it; when nobody waits any more, it is no news.
    this.failure.catch(() => {});
  }

  /**
   * Starts a machine's program in the run's folder.
   *
   * @param program Its path.
   * @param args Its arguments.
   * @param options Whose it is, where it runs, what ends it.
   */
  static async start(
    program: string,
    args: readonly string[],
    options: MachineProcessOptions,
  ): Promise<MachineProcess> {
    const { run, env, speaks = false, signal } = options;
    signal?.throwIfAborted();
    // The kernel ends the machine when this process dies, even by SIGKILL.
    const setpriv = await findProgram("setpriv");
    const words = setpriv === undefined
      ? [program, ...args]
      : [setpriv, "--pdeathsig", "KILL", "--", program, ...args];
    const child = new Deno.Command(words[0], {
      args: words.slice(1),
      cwd: run.path,
      env,
      stdin: speaks ? "piped" : "null",
      stdout: speaks ? "piped" : "null",
      stderr: "piped",
    }).spawn();
    return new MachineProcess(child, options);
  }

  /** The program's process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The program's standard input and output; only of one that is spoken with. */
  get stdio(): { input: WritableStream<Uint8Array>; output: ReadableStream<Uint8Array> } {
    return { input: this.#child.stdin, output: this.#child.stdout };
  }

  /** Makes the error for a machine that does not answer in time, with the end of its console. */
  async lateness(message: string): Promise<NestedError> {
    const console = await this.#run.consoleTail();
    return new NestedError(message, { console, exitCode: NESTED_TIMEOUT });
  }

  async #collectComplaints(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#complaints += decoder.decode(chunk, { stream: true });
    }
  }

  /** Ends the process at once, by a signal that it cannot ignore. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      try {
        this.#child.kill("SIGKILL");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // it has just ended by itself
      }
    }
    await this.#child.status;
    await this.failure.catch(() => {});
  }
}

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
  /**
   * Gives the machine, which waits for it, its word to start, in one line without its end; the job disk must be filled.
   */
  tell(word: string): Promise<void>;
}
