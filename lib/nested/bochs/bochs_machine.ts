import { PORTS } from "../init_script.ts";
import {
  MachineProcess,
  type MachineProcessOptions,
  type MachineStreams,
  type StartedMachine,
} from "../machine_process.ts";
import { CONSOLE_LOG, JOB_DISK } from "../run_folder.ts";
import { FrameSplitter } from "./send_program.ts";
import { BOOT_DISK } from "./boot_disk.ts";
import { SAVE_PLUGIN } from "./save_plugin.ts";

const POLL_MILLISECONDS = 10;
const CHUNK = 1 << 16;

/**
 * Bochs, which writes all that the machine sends to one file. The machine reads its word from the first bytes of the
 * job disk, which ext4 leaves alone.
 */
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
   * @param program Its path.
   * @param args Its arguments.
   * @param options The machine's name, the run's folder, an abort signal.
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

/** The file that the parallel port writes to, in the run's folder. */
const OUTPUT_FILE = "output";

const MEGABYTE = 2 ** 20;

/**
 * Bochs's configuration (bochsrc(5)). Disks are volatile, because a saved state has a copy of one that is not. Time
 * counts instructions: it passes as fast as the machine runs, and faster while it is idle.
 *
 * @param machine Bytes of memory, and how many instructions are a second.
 * @returns The text of a bochsrc.
 */
export function bochsConfiguration(
  machine: { memory: number; instructionsPerSecond: number },
): string {
  const megabytes = machine.memory / MEGABYTE;
  return `config_interface: textconfig
display_library: term
plugin_ctrl: ${SAVE_PLUGIN}=1, biosdev=1, unmapped=1, speaker=0, gameport=0, iodebug=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
memory: guest=${megabytes}, host=${megabytes}
cpu: model=corei7_haswell_4770, count=1, ips=${machine.instructionsPerSecond}
clock: sync=none
pci: enabled=1, chipset=i440fx
boot: disk
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=${BOOT_DISK}, mode=volatile
ata0-slave: type=disk, path=${JOB_DISK}, mode=volatile
ata1: enabled=0
com1: enabled=1, mode=file, dev=${CONSOLE_LOG}
parport1: enabled=1, file=${OUTPUT_FILE}
log: /dev/null
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
debugger_log: -
`;
}

/**
 * The configuration that Bochs saved with a machine's state, without the plugin that saved it.
 *
 * @param saved The file `config` of the state.
 */
export function withoutSavePlugin(saved: string): string {
  return saved.replace(new RegExp(`\\b${SAVE_PLUGIN}=\\w+, *`), "");
}
