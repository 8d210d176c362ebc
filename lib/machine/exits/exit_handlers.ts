import { EXIT_REASON, type ExitReasonName } from "../../kvm/abi/exit_reasons.ts";
import type { AnswerFields, Exit, ExitAnswerOf, HandledReason } from "../../kvm/exits/exit.ts";
import { checkStateful, type PlacedHandler, type StatefulHandler } from "../../devices/handlers.ts";
import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/**
 * Takes a guest's exits of one reason. What it returns answers them, where the guest waits for an answer (a
 * hypercall's result, an MSR's value); undefined lets the guest run on where it does not; false leaves the
 * exit to whoever runs the machine, as if there were no handler.
 */
export type ExitHandler<Reason extends HandledReason = HandledReason> = (
  exit: Extract<Exit, { reason: Reason }>,
) => ExitAnswerOf<Reason> | false | void;

/** An {@linkcode ExitHandler} as an object, which can have state of its own. */
export interface StatefulExitHandler<Reason extends HandledReason = HandledReason>
  extends StatefulHandler {
  /** What to call it in tables of exits and in failure pages. */
  readonly name?: string;
  /** Takes an exit, as {@linkcode ExitHandler} does. */
  answer(exit: Parameters<ExitHandler<Reason>>[0]): ReturnType<ExitHandler<Reason>>;
}

/** A handler as the run loop calls it: without a decoded exit, unless it makes one. */
export interface RawExitHandler {
  /** What to call it in tables of exits and in failure pages. */
  readonly name?: string;
  /** Whose state snapshots have in them. */
  readonly stateful?: StatefulHandler;
  /**
   * Takes the exit that `kvm_run` holds; see {@linkcode ExitHandler} for what it returns. True says that it
   * has written the answer into `kvm_run` itself.
   */
  answer(kvmRun: KvmRunPage): AnswerFields | boolean | void;
}

/** Who takes the exits that are neither IO nor MMIO, by reason. */
export class ExitHandlers {
  readonly #handlers = new Map<number, RawExitHandler>();

  /**
   * Hands exits of a reason to `handler`, until the returned object is disposed.
   *
   * @throws {RangeError} When there is no such reason, or another handler has it.
   * @throws {TypeError} When it is IO or MMIO, or the handler is none.
   */
  on<Reason extends HandledReason>(
    reason: Reason,
    handler: ExitHandler<Reason> | StatefulExitHandler<Reason>,
  ): Disposable {
    const stateful = typeof handler === "function" ? { answer: handler } : handler;
    if (typeof stateful?.answer !== "function") {
      throw new TypeError(
        `Cannot handle ${reason} by ${
          typeof handler === "object" && handler !== null
            ? "an object without answer"
            : String(handler)
        }: give a function of the exit, or { answer, save, restore }`,
      );
    }
    checkStateful(stateful, `handle ${reason}`);
    return this.onRaw(reason, {
      name: handler.name === "" ? undefined : handler.name,
      stateful,
      answer: (kvmRun) => {
        // An exit of that number is of that reason; TypeScript cannot know.
        const answer: unknown = stateful.answer(
          kvmRun.exit() as Parameters<ExitHandler<Reason>>[0],
        );
        // True is what a handler says that has written into `kvm_run`: it has not.
        return answer === false || (typeof answer === "object" && answer !== null)
          ? answer as AnswerFields | false
          : undefined;
      },
    });
  }

  /** As {@linkcode ExitHandlers.on}, for handlers that read `kvm_run` themselves. */
  onRaw(reason: HandledReason, handler: RawExitHandler): Disposable {
    const number = numberOf(reason);
    if (this.#handlers.has(number)) {
      throw new RangeError(
        `Cannot handle ${reason}: ${this.#handlers.get(number)?.name ?? "another handler"} ` +
          "has it already. Dispose what its on() returned first.",
      );
    }
    this.#handlers.set(number, handler);
    return {
      [Symbol.dispose]: () => {
        if (this.#handlers.get(number) === handler) this.#handlers.delete(number);
      },
    };
  }

  /** The handlers, and which exits they take. */
  get placed(): readonly PlacedHandler[] {
    return Object.entries(EXIT_REASON).flatMap(([name, number]) => {
      const handler = this.#handlers.get(number);
      return handler === undefined
        ? []
        : [{ place: `a handler of ${name} exits`, handler: handler.stateful }];
    });
  }

  /** Who takes exits of a reason, by its number. */
  find(reason: number): RawExitHandler | undefined {
    return this.#handlers.get(reason);
  }
}

function numberOf(reason: string): number {
  if (reason === "IO" || reason === "MMIO") {
    throw new TypeError(
      `Cannot handle ${reason} exits as one: their handlers have addresses. Use vm.${
        reason === "IO" ? "ports" : "mmio"
      }.on(…).`,
    );
  }
  if (Object.hasOwn(EXIT_REASON, reason)) return EXIT_REASON[reason as ExitReasonName];
  throw new RangeError(
    `Cannot handle ${
      JSON.stringify(reason)
    } exits: there is no reason of that name; the nearest are ${
      nearestNames(String(reason), Object.keys(EXIT_REASON)).join(", ")
    }`,
  );
}
