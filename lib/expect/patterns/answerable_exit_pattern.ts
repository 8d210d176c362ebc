import type { AnsweredReason, AnswerFields, ExitAnswers } from "../../kvm/exits/exit.ts";
import { checkAnswer } from "../../kvm/exits/exit_answer.ts";
import { ExitPattern, type PatternDefinition } from "./exit_pattern.ts";

/**
 * An exit whose guest waits for an answer that is more than data on a bus: {@linkcode exit} without the answer. A
 * handler of the machine must have one.
 */
export class AnswerableExitPattern<Reason extends AnsweredReason> extends ExitPattern {
  readonly #reason: Reason;

  /** Use {@linkcode exit}. */
  constructor(definition: PatternDefinition, reason: Reason) {
    super(definition);
    this.#reason = reason;
  }

  /**
   * Answers the exit: the result of a hypercall, what an MSR reads, an `error` that gives the guest #GP.
   *
   * @throws {TypeError} When exits of this reason take no such field.
   * @throws {RangeError} When a value does not fit its field.
   */
  returns(answer: ExitAnswers[Reason]): ExitPattern {
    const fields = answer as AnswerFields;
    if (typeof answer !== "object" || answer === null) {
      throw new TypeError(
        `Cannot answer ${this.#reason} by ${String(answer)}: give the fields of the answer`,
      );
    }
    checkAnswer(this.#reason, fields);
    const { definition } = this;
    return new ExitPattern({
      ...definition,
      begin() {
        const occurrence = definition.begin();
        return {
          text: occurrence.text,
          offer(exit) {
            const verdict = occurrence.offer(exit);
            return verdict.matches ? { ...verdict, fields } : verdict;
          },
        };
      },
    });
  }
}
