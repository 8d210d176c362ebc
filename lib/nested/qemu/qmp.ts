import { LineReader } from "../streams.ts";
import { NestedError } from "../nested_error.ts";
import { shellQuote } from "../job_script.ts";

/** A client of the QEMU Machine Protocol (QEMU, docs/interop/qmp-spec). */
export class Qmp {
  readonly #lines: LineReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #gone: Promise<never>;

  /**
   * @param stdio The streams that QEMU's monitor speaks on.
   * @param gone Rejects when QEMU has ended, and knows why.
   */
  constructor(
    stdio: { input: WritableStream<Uint8Array>; output: ReadableStream<Uint8Array> },
    gone: Promise<never>,
  ) {
    this.#gone = gone;
    this.#lines = new LineReader(stdio.output);
    this.#writer = stdio.input.getWriter();
  }

  /** Waits for the greeting and enters command mode. */
  async open(): Promise<void> {
    await this.#lines.next();
    await this.execute("qmp_capabilities");
  }

  /**
   * Runs a command and waits for its answer; events in between are passed over.
   *
   * @param command Such as `"migrate"`.
   * @param args Its arguments.
   * @returns What QEMU returned.
   * @throws {NestedError} When QEMU refuses it.
   */
  async execute(
    command: string,
    args: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    const request = JSON.stringify({ execute: command, arguments: args });
    try {
      await this.#writer.write(new TextEncoder().encode(`${request}\n`));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return await this.#gone;
      throw error;
    }
    while (true) {
      const line = await this.#lines.next();
      if (line === undefined) return await this.#gone;
      const answer = JSON.parse(line);
      if ("error" in answer) {
        throw new NestedError(`QEMU refused ${command}: ${answer.error.desc}`);
      }
      if ("return" in answer) return answer.return;
    }
  }
}

const POLL_MILLISECONDS = 10;

/** Leaves memory that is a shared file where it is, so that only the state of processors and devices is moved. */
async function leaveMemory(qmp: Qmp): Promise<void> {
  const capabilities = [{ capability: "x-ignore-shared", state: true }];
  await qmp.execute("migrate-set-capabilities", { capabilities });
}

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
}

/**
 * Writes the state of a running machine's processors and devices to a file, and leaves the machine stopped.
 *
 * @param qmp Its monitor.
 * @param state The file.
 * @throws {NestedError} When QEMU cannot.
 */
export async function saveState(qmp: Qmp, state: string): Promise<void> {
  await leaveMemory(qmp);
  const part = `${state}.part`;
  // The shell renames it at the end, because QEMU calls the migration completed before all of it is written.
  const save = `cat > ${shellQuote(part)} && mv ${shellQuote(part)} ${shellQuote(state)}`;
  await qmp.execute("migrate", { uri: `exec:${save}` });
  while (true) {
    const { status, "error-desc": reason } = await qmp.execute("query-migrate");
    if (status === "failed" || status === "cancelled") {
      throw new NestedError(`QEMU could not save the machine: ${reason ?? status}`);
    }
    const written = await Deno.stat(state).then(() => true, () => false);
    if (status === "completed" && written) return;
    await pause();
  }
}

/**
 * Gives a machine that waits for it the state that {@linkcode saveState} wrote; it then runs on from there.
 *
 * @param qmp Its monitor.
 * @param state The file.
 */
export async function loadState(qmp: Qmp, state: string): Promise<void> {
  await leaveMemory(qmp);
  await qmp.execute("migrate-incoming", { uri: `exec:cat ${shellQuote(state)}` });
}
