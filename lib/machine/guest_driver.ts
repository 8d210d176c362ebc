import { KVM_GUESTDBG } from "../kvm/abi/mod.ts";
import type { Exit } from "../kvm/exit.ts";
import type { AnswerFields } from "../kvm/exit_answer.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { answerBytes } from "./answer_bytes.ts";
import type { Machine } from "./machine.ts";
import type { ExitsOptions, ObservedExit, RunOptions } from "./machine_types.ts";
import type { RegisterStore } from "./register_store.ts";
import { isResumable } from "./resumable_exits.ts";
import type { RunLoop } from "./run_loop.ts";
import { scaledTimeout, type TimeLimit } from "./time_limit.ts";
import { TimeLimitError } from "./time_limit_error.ts";
import { UnhandledExitError } from "./unhandled_exit_error.ts";

const TERMINAL: ReadonlySet<string> = new Set(["HLT", "SHUTDOWN"]);

/** What a driver needs of its machine. */
export interface GuestDriverParts {
  /** For the errors about its guest. */
  readonly machine: Machine;
  readonly vcpu: Vcpu;
  readonly store: RegisterStore;
  readonly loop: RunLoop;
  readonly limit: TimeLimit;
  /** The time limit of a run that is given none, in milliseconds, before it is scaled. */
  readonly timeout: number;
}

/**
 * The ways to run a machine's guest: to its end, for an instruction, or exit by exit. It knows the latest exit
 * that test code has seen, and refuses to run a machine that runs.
 */
export class GuestDriver {
  readonly #parts: GuestDriverParts;
  #latest: Exit | undefined;
  #running = false;
  #stopAsked = false;

  /** A driver of one machine. */
  constructor(parts: GuestDriverParts) {
    this.#parts = parts;
  }

  /** See {@linkcode Machine.lastExit}. */
  get latest(): Exit | undefined {
    return this.#latest;
  }

  /** Whether the guest, or a handler of its exits, is running. */
  get isRunning(): boolean {
    return this.#running;
  }

  /** See {@linkcode Machine.stop}. */
  stop(): void {
    this.#stopAsked = true;
  }

  /** See {@linkcode Machine.run}. */
  run(options: RunOptions): Exit {
    return this.#drive(options, () => this.#runToEnd());
  }

  /** See {@linkcode Machine.step}. */
  step(options: RunOptions): Exit {
    return this.#drive(options, () => this.#runOneInstruction());
  }

  /** See {@linkcode Machine.exits}. */
  *exits(options: ExitsOptions): Generator<ObservedExit, void, void> {
    for (let used = 0;;) {
      const observed = this.#drive(options, () => this.#observe(options.before), used);
      used += this.#parts.limit.elapsed;
      yield observed;
      if (!isResumable(observed.exit) || this.#stopAsked) return;
    }
  }

  /** See {@linkcode Machine.answer}. */
  answer(value: number | bigint | Uint8Array | AnswerFields): void {
    if (this.#running) {
      throw new TypeError(
        "Cannot answer an exit: the machine is running. A handler answers with what it returns.",
      );
    }
    const { loop } = this.#parts;
    const exit = this.#latest;
    if (exit === undefined || !loop.unanswered) {
      throw new TypeError("Cannot answer an exit: the latest one is not a read that waits for it");
    }
    if (isFields(value)) loop.answerFields(value, "the test");
    else loop.answer(answerBytes(value, exit), "the test");
    loop.settle();
  }

  /** Runs `body` under the time limit, with all that holds around any run of the guest. */
  #drive<Result>(
    { timeout = this.#parts.timeout }: RunOptions,
    body: () => Result,
    used = 0,
  ): Result {
    const { machine, limit, loop } = this.#parts;
    machine.checkUsable("run the machine");
    if (this.#running) {
      throw new TypeError(
        "Cannot run the machine: it is running already. A handler answers an exit; it cannot run the machine that waits for its answer.",
      );
    }
    const milliseconds = scaledTimeout(timeout);
    if (used >= milliseconds) throw new TimeLimitError(machine, milliseconds);
    this.#running = true;
    this.#stopAsked = false;
    try {
      limit.start(milliseconds, used);
      return body();
    } finally {
      this.#running = false;
      try {
        limit.stop();
      } finally {
        loop.settle();
      }
    }
  }

  #runToEnd(end?: Exit["reason"]): Exit {
    const { loop, machine, vcpu: { kvmRun } } = this.#parts;
    for (;;) {
      if (!loop.unanswered) loop.advance();
      if (loop.dispatch()) {
        if (!this.#stopAsked) continue;
        return this.#latest = kvmRun.exit();
      }
      const exit = this.#latest = kvmRun.exit();
      if (TERMINAL.has(exit.reason) || exit.reason === end) return exit;
      loop.settle();
      throw new UnhandledExitError(machine, exit);
    }
  }

  #runOneInstruction(): Exit {
    const { vcpu, store } = this.#parts;
    // KVM notes where the step begins by the registers that it has.
    store.flush();
    vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
    try {
      return this.#runToEnd("DEBUG");
    } finally {
      vcpu.setGuestDebug(0);
    }
  }

  #observe(before: ExitsOptions["before"]): ObservedExit {
    const { loop, machine, vcpu } = this.#parts;
    if (loop.unanswered && !loop.dispatch()) throw new UnhandledExitError(machine, this.#latest!);
    loop.advance();
    const exit = this.#latest = vcpu.kvmRun.exit();
    const answer = before?.(exit);
    if (answer?.bytes !== undefined) loop.answer(answer.bytes, answer.by);
    else if (answer?.fields !== undefined) loop.answerFields(answer.fields, answer.by);
    else {
      // What a transcript foresees, a device sees all the same: a serial line keeps its text.
      loop.dispatch();
      if (answer !== undefined) loop.acknowledge(answer.by);
    }
    const { number, answeredBy, value } = machine.log.latest!;
    return { number, exit, answeredBy, value };
  }
}

function isFields(value: number | bigint | Uint8Array | AnswerFields): value is AnswerFields {
  return typeof value === "object" && !(value instanceof Uint8Array);
}
