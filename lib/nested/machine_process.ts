import { type Port, PORTS } from "./init_script.ts";
import { findProgram } from "./find_program.ts";
import { NESTED_TIMEOUT, NestedError } from "./nested_error.ts";
import { Qmp } from "./qmp.ts";
import { type RunFolder, socketName } from "./run_folder.ts";

/** The longest path of a Unix socket (struct sockaddr_un in <sys/un.h>), without the closing NUL. */
const SOCKET_PATH_LIMIT = 107;

/** A started machine: its process and its ports. */
export class MachineProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #listeners: Deno.Listener[];
  readonly #run: RunFolder;
  #connections: Partial<Record<Port, Deno.Conn>> = {};
  #accepted?: Promise<unknown>;
  #complaints = "";
  #ended = false;
  /** Rejects when the process ends, or when the signal is aborted. It never resolves. */
  readonly failure: Promise<never>;

  private constructor(
    child: Deno.ChildProcess,
    listeners: Deno.Listener[],
    run: RunFolder,
    name: string,
    signal?: AbortSignal,
  ) {
    this.#child = child;
    this.#listeners = listeners;
    this.#run = run;
    const complaining = this.#collectComplaints();
    const died = child.status.then(async (status) => {
      this.#ended = true;
      await complaining;
      const how = status.signal ?? `exit code ${status.code}`;
      const said = this.#complaints.trim();
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
   * Starts a machine's program in the run's folder and listens on its ports.
   *
   * @param program its path
   * @param args its arguments
   * @param options the machine's name, the run's folder, an abort signal
   */
  static async start(program: string, args: readonly string[], options: {
    name: string;
    run: RunFolder;
    signal?: AbortSignal;
  }): Promise<MachineProcess> {
    const { name, run, signal } = options;
    signal?.throwIfAborted();
    const listeners: Deno.Listener[] = [];
    for (const port of PORTS) {
      const path = `${run.path}/${socketName(port)}`;
      if (path.length > SOCKET_PATH_LIMIT) {
        throw new NestedError(
          `The path ${path} is too long for a socket: set TMPDIR to a shorter one`,
        );
      }
      listeners.push(Deno.listen({ transport: "unix", path }));
    }
    // The kernel ends the machine when this process dies, even by SIGKILL.
    const setpriv = await findProgram("setpriv");
    const words = setpriv === undefined
      ? [program, ...args]
      : [setpriv, "--pdeathsig", "KILL", "--", program, ...args];
    const child = new Deno.Command(words[0], {
      args: words.slice(1),
      cwd: run.path,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new MachineProcess(child, listeners, run, name, signal);
  }

  /** The program's process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Opens the machine's monitor, once. */
  async monitor(): Promise<Qmp> {
    const stdio = { input: this.#child.stdin, output: this.#child.stdout };
    const qmp = new Qmp(stdio, this.failure);
    await qmp.open();
    return qmp;
  }

  /** Waits until the machine has opened its ports, and gives the same connections each time. */
  async connections(): Promise<Record<Port, Deno.Conn>> {
    this.#accepted ??= Promise.all(this.#listeners.map(async (listener, index) => {
      this.#connections[PORTS[index]] = await listener.accept();
    }));
    // When the machine dies first, the failure speaks.
    this.#accepted.catch(() => {});
    await Promise.race([this.#accepted, this.failure]);
    return this.#connections as Record<Port, Deno.Conn>;
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

  /** Ends the process at once and closes the ports. */
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
    for (const listener of this.#listeners) listener.close();
    for (const connection of Object.values(this.#connections)) {
      try {
        connection.close();
      } catch (error) {
        if (!(error instanceof Deno.errors.BadResource)) throw error;
      }
    }
  }
}
