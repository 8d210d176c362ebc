import { LineReader } from "../line_reader.ts";
import { NestedError } from "../nested_error.ts";

/** A client of the QEMU Machine Protocol (QEMU, docs/interop/qmp-spec). */
export class Qmp {
  readonly #lines: LineReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #gone: Promise<never>;

  /**
   * @param stdio the streams that QEMU's monitor speaks on
   * @param gone rejects when QEMU has ended, and knows why
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
   * @param command such as `"migrate"`
   * @param args its arguments
   * @returns what QEMU returned
   * @throws {NestedError} when QEMU refuses it
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
