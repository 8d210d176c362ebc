import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { collectFiles, createJobDisk, type FileIn, fillJobDisk } from "./job_disk.ts";
import { type Image, openImage } from "./image.ts";
import { ALIVE, STARTED } from "./init_script.ts";
import { jobScript } from "./job_script.ts";
import { joined, LineReader, relay, withDeadline } from "./streams.ts";
import { NestedError } from "./nested_error.ts";
import type { NestedMachine } from "./nested_machine.ts";
import { bochsVmx } from "./bochs/bochs_vmx.ts";
import { RunFolder } from "./run_folder.ts";
import type { StartedMachine } from "./machine_process.ts";
import { readTar } from "./tar_reader.ts";

/** Which machine to start, and who hears of it. */
export interface SessionOptions {
  /** The machine; that of {@linkcode bochsVmx} unless told. */
  machine?: NestedMachine;
  /** Hears in short lines what is done: installing, booting, resuming. */
  onProgress?: (line: string) => void;
  /** Ends everything at once when it is aborted. */
  signal?: AbortSignal;
}

/** From the word to start until the disk is mounted; only a broken snapshot takes longer. */
const WAKE_SECONDS = 30;
/** Far more than a busy host delays the word that a machine sends every few seconds. */
const SILENCE_SECONDS = 120;
const MAKING_ANEW = "the snapshot does not answer; making it anew";
const SEED_SIZE = 64;
const MARKER_SIZE = 16;

/** The machine failed before it had its command: its snapshot is at fault. */
class SnapshotError extends NestedError {}

function snapshotError(cause: unknown): SnapshotError {
  return new SnapshotError(cause instanceof Error ? cause.message : String(cause), { cause });
}

/** A resumed machine and its folder, disposed together. */
interface Resumed extends AsyncDisposable {
  run: RunFolder;
  started: StartedMachine;
  /** Held until the machine has surely read its files. */
  image: Image;
}

async function resume(options: SessionOptions, discard: boolean): Promise<Resumed> {
  const { machine = bochsVmx(), onProgress = () => {}, signal } = options;
  await using stack = new AsyncDisposableStack();
  const run = stack.use(await RunFolder.create());
  await createJobDisk(run.path);
  const image = stack.use(await openImage({ machine, onProgress, signal }, discard));
  onProgress("resuming the nested machine");
  const { program, vmlinuz, folder } = image;
  const started = stack.use(
    await machine.start({ program, vmlinuz, folder, run, signal }).catch((error) => {
      throw signal?.aborted ? error : snapshotError(error);
    }),
  );
  const resources = stack.move();
  return { run, started, image, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** A nested machine that is being resumed and takes one command. {@linkcode startNested} makes it. */
export class NestedSession implements AsyncDisposable {
  readonly #options: SessionOptions;
  #resumed: Resumed;
  #used = false;

  private constructor(options: SessionOptions, resumed: Resumed) {
    this.#options = options;
    this.#resumed = resumed;
  }

  /** Starts to resume a machine; see {@linkcode startNested}. */
  static async start(options: SessionOptions = {}): Promise<NestedSession> {
    try {
      return new NestedSession(options, await resume(options, false));
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      options.onProgress?.(MAKING_ANEW);
      return new NestedSession(options, await resume(options, true));
    }
  }

  /** The process id of the program that runs the machine. */
  get pid(): number {
    return this.#resumed.started.process.pid;
  }

  /**
   * Runs the session's one command. If the snapshot turns out to be unusable, it is made anew, once.
   *
   * @param command The program and its arguments; `deno`, `nasm` and busybox's tools are there.
   * @param options Its files, environment, output and time limit.
   * @returns Its exit code, what it printed, and the files that came back.
   * @throws {NestedError} When the machine dies, panics or does not answer within the limit, a disk is full, or the
   *   session has had its command.
   */
  async run(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    if (this.#used) {
      throw new NestedError("Cannot run a second command: a session takes one. Start another");
    }
    this.#used = true;
    const marker = randomBytes(MARKER_SIZE).toString("hex");
    let control: LineReader;
    try {
      control = await this.#wake(command, options, marker);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (!(error instanceof SnapshotError)) throw error;
      this.#options.onProgress?.(MAKING_ANEW);
      await this.#resumed[Symbol.asyncDispose]();
      this.#resumed = await resume(this.#options, true);
      control = await this.#wake(command, options, marker);
    }
    this.#resumed.image[Symbol.dispose]();
    const { limit } = options;
    const { process } = this.#resumed.started;
    const followed = Promise.race([this.#follow(control, options, marker), process.failure]);
    if (limit === undefined) return await followed;
    return await withDeadline(
      limit,
      followed,
      () =>
        process.lateness(`The command in the nested machine did not end within ${limit} seconds`),
    );
  }

  /** Gives the machine its disk and its word to start, and waits for its answer. */
  async #wake(
    command: readonly string[],
    options: CommandOptions,
    marker: string,
  ): Promise<LineReader> {
    const { run, started } = this.#resumed;
    const { process } = started;
    const { machine = bochsVmx(), signal } = this.#options;
    const filesIn = (options.filesIn ?? []).map((file) =>
      typeof file === "string" ? { host: file } : file
    );
    const entries = await collectFiles(filesIn);
    const script = jobScript({
      command,
      cwd: options.cwd ?? Deno.cwd(),
      env: {
        PATH: "/usr/bin:/bin",
        HOME: Deno.env.get("HOME") ?? "/root",
        DENO_NO_UPDATE_CHECK: "1",
        VMEXIT_NESTED: machine.name,
        VMEXIT_TIMEOUT_SCALE: String(machine.timeoutScale),
        ...machine.env,
        ...options.env,
      },
      filesOut: options.filesOut ?? [],
      marker,
    });
    await Deno.writeTextFile(`${run.path}/script`, script);
    await Deno.writeFile(`${run.path}/seed`, randomBytes(SEED_SIZE));
    await fillJobDisk(run.path, [
      { path: "/script", content: { file: `${run.path}/script` } },
      { path: "/seed", content: { file: `${run.path}/seed` } },
      ...entries,
    ], signal);
    const wake = async (): Promise<LineReader> => {
      const streams = await started.streams();
      const milliseconds = Date.now();
      const seconds = Math.floor(milliseconds / 1000);
      await started.tell(`run ${seconds} ${(milliseconds % 1000) * 1_000_000}`);
      const control = new LineReader(streams.control);
      const answer = await control.next();
      if (answer === undefined) return await process.failure;
      if (answer !== STARTED) throw new NestedError(`The nested machine said ${answer}`);
      return control;
    };
    try {
      return await withDeadline(
        WAKE_SECONDS,
        Promise.race([wake(), process.failure]),
        () => process.lateness(`The nested machine did not wake within ${WAKE_SECONDS} seconds`),
      );
    } catch (error) {
      throw snapshotError(error);
    }
  }

  /** Relays the command's output and fetches what it leaves. */
  async #follow(
    control: LineReader,
    options: CommandOptions,
    marker: string,
  ): Promise<CommandResult> {
    const { process } = this.#resumed.started;
    const { stdout, stderr, files } = await this.#resumed.started.streams();
    const heard: { stdout: Uint8Array[]; stderr: Uint8Array[] } = { stdout: [], stderr: [] };
    const { onStdout = (chunk) => heard.stdout.push(chunk) } = options;
    const { onStderr = (chunk) => heard.stderr.push(chunk) } = options;
    const [line] = await Promise.all([
      this.#verdict(control, options.silence),
      relay(stdout, marker, onStdout),
      relay(stderr, marker, onStderr),
    ]);
    const code = /^exit (\d+)$/.exec(line ?? "")?.[1];
    if (line === undefined) return await process.failure;
    if (code === undefined) throw new NestedError(`The nested machine said ${line}`);
    const written: string[] = [];
    for await (const { path, content } of readTar(files)) {
      const target = `/${path}`;
      await Deno.mkdir(content === undefined ? target : dirname(target), { recursive: true });
      if (content === undefined) continue;
      await Deno.writeFile(target, content);
      written.push(target);
    }
    return {
      code: Number(code),
      stdout: joined(heard.stdout),
      stderr: joined(heard.stderr),
      files: written,
    };
  }

  /** The machine's word on how the command ended. A machine that has stopped to say that it lives has none. */
  async #verdict(control: LineReader, silence = SILENCE_SECONDS): Promise<string | undefined> {
    const { process } = this.#resumed.started;
    for (;;) {
      const line = await withDeadline(
        silence,
        control.next(),
        () =>
          process.lateness(
            `The nested machine is frozen: it said nothing for ${silence} seconds`,
          ),
      );
      if (line !== ALIVE) return line;
    }
  }

  /** Ends the machine at once and removes its temporary files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resumed[Symbol.asyncDispose]();
  }
}

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
