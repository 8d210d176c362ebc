import { PORTS } from "../init_script.ts";
import { MachineProcess, type MachineProcessOptions } from "../machine_process.ts";
import { JOB_DISK } from "../run_folder.ts";
import type { MachineStreams, StartedMachine } from "../started_machine.ts";
import { OUTPUT_FILE } from "./bochs_configuration.ts";
import { FrameSplitter } from "./frame_splitter.ts";

const POLL_MILLISECONDS = 10;
const CHUNK = 1 << 16;

/** Bochs, which writes all that the machine sends to one file. The machine reads its word from the first bytes of the job disk, which ext4 leaves alone. */
export class BochsMachine implements StartedMachine {
  /** Its process. */
  readonly process: MachineProcess;
  readonly #run: string;
  readonly #outputs: ReadableStream<Uint8Array>[];
  readonly #inputs: ReadableStreamDefaultController<Uint8Array>[] = [];
  readonly #following: Promise<void>;
  #disposed = false;

  private constructor(process: MachineProcess, run: string) {
    this.process = process;
    this.#run = run;
    this.#outputs = PORTS.map(() =>
      new ReadableStream({ start: (controller) => void this.#inputs.push(controller) })
    );
    this.#following = this.#follow();
  }

  /**
   * Starts Bochs in the run's folder.
   *
   * @param program its path
   * @param args its arguments
   * @param options the machine's name, the run's folder, an abort signal
   */
  static async start(
    program: string,
    args: readonly string[],
    options: MachineProcessOptions,
  ): Promise<BochsMachine> {
    await Deno.writeFile(`${options.run.path}/${OUTPUT_FILE}`, new Uint8Array());
    const process = await MachineProcess.start(program, args, options);
    return new BochsMachine(process, options.run.path);
  }

  /** Hands out what the file gets, until the machine is disposed. */
  async #follow(): Promise<void> {
    using file = await Deno.open(`${this.#run}/${OUTPUT_FILE}`);
    const splitter = new FrameSplitter();
    const buffer = new Uint8Array(CHUNK);
    while (!this.#disposed) {
      const length = await file.read(buffer);
      if (length === null) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
        continue;
      }
      for (const { port, bytes } of splitter.push(buffer.subarray(0, length))) {
        this.#inputs[port]?.enqueue(bytes);
      }
    }
    for (const input of this.#inputs) input.close();
  }

  /** The streams, which begin when the machine writes to them. */
  streams(): Promise<MachineStreams> {
    const [control, stdout, stderr, files] = this.#outputs;
    return Promise.resolve({ control, stdout, stderr, files });
  }

  /** Writes the word to the disk, where the machine looks for it. */
  async tell(word: string): Promise<void> {
    using file = await Deno.open(`${this.#run}/${JOB_DISK}`, { write: true });
    await file.write(new TextEncoder().encode(`${word}\n`));
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await this.process[Symbol.asyncDispose]();
    await this.#following;
  }
}
