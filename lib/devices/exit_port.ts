import type { PortHandler } from "./handlers.ts";

/**
 * A port by which a guest ends the run and says how it went: the value of its first `out` is the status.
 *
 * `boot(guest, { exitPort: 0xf4 })` puts one on a machine: {@linkcode Machine.run} then returns at that
 * `out`, and `vm.exitStatus` is the value.
 */
export class ExitPort implements PortHandler {
  /** The name in tables of exits. */
  readonly name = "exit port";
  readonly #stop: () => void;
  #status: number | undefined;
  #earlierStatus: number | undefined;

  /**
   * A port that has not been written to.
   *
   * @param stop Called at each write: it ends the run.
   */
  constructor(stop: () => void) {
    this.#stop = stop;
  }

  /** What the guest wrote last in this run, or undefined as long as it has not. */
  get status(): number | undefined {
    return this.#status;
  }

  /** What it wrote last in earlier runs, or undefined. */
  get earlierStatus(): number | undefined {
    return this.#earlierStatus;
  }

  /** Begins a run: what was written is of an earlier one. */
  beginRun(): void {
    this.#earlierStatus = this.#status ?? this.#earlierStatus;
    this.#status = undefined;
  }

  /** What was written, for {@linkcode ExitPort.restore}. */
  save(): Readonly<Record<"status" | "earlierStatus", number | undefined>> {
    return { status: this.#status, earlierStatus: this.#earlierStatus };
  }

  /** The same is what was written. */
  restore({ status, earlierStatus }: ReturnType<ExitPort["save"]>): void {
    this.#status = status;
    this.#earlierStatus = earlierStatus;
  }

  /** Takes the status. */
  write(_port: number, value: number): void {
    this.#status = value;
    this.#stop();
  }
}
