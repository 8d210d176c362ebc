import { type Port, PORTS } from "../init_script.ts";
import {
  MachineProcess,
  type MachineProcessOptions,
  type MachineStreams,
  type StartedMachine,
} from "../machine_process.ts";
import { NestedError } from "../nested_error.ts";
import { loadState, Qmp } from "./qmp.ts";

/** The longest path of a Unix socket (struct sockaddr_un in <sys/un.h>), without the closing NUL. */
const SOCKET_PATH_LIMIT = 107;

/** The name of a port's socket in the run's folder. */
export function socketName(port: Port): string {
  return `${port}.sock`;
}

/** QEMU with a socket for each port of the machine, and its monitor on its standard input and output. */
export class QemuMachine implements StartedMachine {
  /** Its process. */
  readonly process: MachineProcess;
  readonly #listeners: Deno.Listener[];
  readonly #connections: Partial<Record<Port, Deno.Conn>> = {};
  #accepted?: Promise<unknown>;
  #loading: Promise<void> = Promise.resolve();

  private constructor(process: MachineProcess, listeners: Deno.Listener[]) {
    this.process = process;
    this.#listeners = listeners;
  }

  /**
   * Starts QEMU and listens on the ports.
   *
   * @param program Its path.
   * @param args Its arguments.
   * @param options The machine's name, the run's folder, an abort signal.
   */
  static async start(
    program: string,
    args: readonly string[],
    options: MachineProcessOptions,
  ): Promise<QemuMachine> {
    const listeners: Deno.Listener[] = [];
    try {
      for (const port of PORTS) {
        const path = `${options.run.path}/${socketName(port)}`;
        if (path.length > SOCKET_PATH_LIMIT) {
          throw new NestedError(
            `The path ${path} is too long for a socket: set TMPDIR to a shorter one`,
          );
        }
        listeners.push(Deno.listen({ transport: "unix", path }));
      }
      const process = await MachineProcess.start(program, args, { ...options, speaks: true });
      return new QemuMachine(process, listeners);
    } catch (error) {
      for (const listener of listeners) listener.close();
      throw error;
    }
  }

  /** Opens the machine's monitor, once. */
  async monitor(): Promise<Qmp> {
    const qmp = new Qmp(this.process.stdio, this.process.failure);
    await qmp.open();
    return qmp;
  }

  /** Has a machine that waits for its state load it from a file; {@link QemuMachine.streams} waits until it does. */
  load(state: string): void {
    this.#loading = this.monitor().then((qmp) => loadState(qmp, state));
    // Whoever waits hears of it; a session that is disposed unused does not care.
    this.#loading.catch(() => {});
  }

  async #ports(): Promise<Record<Port, Deno.Conn>> {
    await this.#loading;
    this.#accepted ??= Promise.all(this.#listeners.map(async (listener, index) => {
      this.#connections[PORTS[index]] = await listener.accept();
    }));
    // When the machine dies first, the failure speaks.
    this.#accepted.catch(() => {});
    await Promise.race([this.#accepted, this.process.failure]);
    return this.#connections as Record<Port, Deno.Conn>;
  }

  /** Waits until the machine has opened its ports. */
  async streams(): Promise<MachineStreams> {
    const { control, stdout, stderr, files } = await this.#ports();
    return {
      control: control.readable,
      stdout: stdout.readable,
      stderr: stderr.readable,
      files: files.readable,
    };
  }

  /** Writes the word to the control port. */
  async tell(word: string): Promise<void> {
    const { control } = await this.#ports();
    await control.write(new TextEncoder().encode(`${word}\n`));
  }

  /** Ends the process and closes the ports. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
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
