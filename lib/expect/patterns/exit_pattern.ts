import type { AnswerFields, Exit } from "../../kvm/exits/exit.ts";
import type { BiosCall } from "../../devices/bios/call.ts";
import type { CaughtFault } from "../../machine/faults/caught_fault.ts";
import type { MachineCpu } from "../../machine/machine.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { checkOptions, someEntries } from "../../x86/defined_entries.ts";

/**
 * Stands for any port or address in a pattern.
 *
 * @example
 * ```ts
 * import { any, portOut } from "@vmexit/vmexit";
 *
 * const somewhere = portOut(any, "x");
 * ```
 */
export const any: unique symbol = Symbol("any");

/** What an exit is to a pattern that was waiting for it. */
export type PatternMatch =
  | {
    /** It is what the pattern describes. */
    readonly matches: true;
    /** Whether the pattern is satisfied, or waits for more (the rest of a text, one byte an exit). */
    readonly complete: boolean;
    /**
     * How often the pattern has come by it, once it is complete. Default once; by a string instruction whose accesses
     * are one exit, as often as it accesses.
     */
    readonly count?: number;
    /** For a read: what the guest gets. Undefined leaves the answer to the machine's devices. */
    readonly answer?: Uint8Array;
    /** For an exit that is neither IO nor MMIO, and waits for an answer: its fields. */
    readonly fields?: AnswerFields;
    /** For a call of the BIOS's: what answers it in place of the service. */
    readonly answerCall?: (call: BiosCall) => void;
  }
  | {
    /** It is something else. */
    readonly matches: false;
  };

/** What is something else. */
export const MISMATCH: PatternMatch = { matches: false };

/** What a pattern takes whole, and needs no answer. */
export const MATCH: PatternMatch = { matches: true, complete: true };

/** One occurrence of a pattern being matched. It has state: a text is matched over many exits. */
export interface Occurrence {
  /** Takes the next exit. A mismatch must leave the state as it was. */
  offer(exit: Exit): PatternMatch;
  /** Takes the guest's fault, if that is what comes next; without it, none is what the pattern describes. */
  offerFault?(fault: CaughtFault): PatternMatch;
  /** Takes the guest's call of the BIOS, if that is what comes next; without it, the exit that it makes is offered. */
  offerCall?(call: BiosCall): PatternMatch;
  /** What it still waits for, for the failure page. */
  readonly text: string;
}

/** An access of one element, as `kvm_run` holds it. */
export interface PlainAccess {
  /** Whether it is at a physical address: else at a port. */
  readonly isMmio: boolean;
  /** Whether the guest writes. */
  readonly isWrite: boolean;
  /** The port or the physical address; undefined for any. */
  readonly place: number | undefined;
  /** Bytes of it; undefined for any. */
  readonly size: number | undefined;
  /** What is written, up to 32 bits; undefined for anything. */
  readonly value?: number;
  /** What a read gets, in as many bytes; undefined leaves the answer to the machine's devices. */
  readonly bytes?: Uint8Array;
}

/** A pattern that can match exits. {@linkcode ExitPattern} wraps it with repetition. */
export interface PatternDefinition {
  /** The pattern as a table of exits would show it: `IO out 0x1000 "A"`. */
  readonly text: string;
  /** Throws where a machine, as it was booted, can have no such exit. */
  check?(machine: MachineCpu): void;
  /** Why no such exit can come on the machine as it is set up, and what to do about it; undefined where one can. */
  remedy?(machine: MachineCpu): string | undefined;
  /** Begins an occurrence. */
  begin(): Occurrence;
  /**
   * What each of its exits is, where that can be told of an exit that is not decoded. What such an exit matches, and what
   * it answers, is the same as of an occurrence.
   */
  readonly access?: PlainAccess;
  /** Whether this exit is at a port or address that the pattern names, so that no device may take it away. */
  names(exit: Exit, call: BiosCall | undefined): boolean;
}

const BOUNDS = { atLeast: "value", atMost: "value" } as const;

/** What a pattern matches, for who follows a transcript. */
export let definitionOf: (pattern: ExitPattern) => PatternDefinition;

/**
 * One line of a transcript: which exit must come, and how often.
 *
 * Made by {@linkcode portOut}, {@linkcode portIn}, {@linkcode mmioWrite}, {@linkcode mmioRead},
 * {@linkcode rdmsr}, {@linkcode wrmsr}, {@linkcode hlt}, {@linkcode shutdown}, {@linkcode exit},
 * {@linkcode anyExit}, {@linkcode fault} and {@linkcode biosCall}. It is immutable: each method returns a new one.
 *
 * @example
 * ```ts
 * import { hlt, portOut } from "@vmexit/vmexit";
 *
 * const dots = [portOut(0x1000, ".").times({ atLeast: 3 }), portOut(0x1000, "!").optional(), hlt()];
 * ```
 */
export class ExitPattern {
  readonly #definition: PatternDefinition;
  readonly #saysHowOften: boolean;
  /** How often it must come. */
  readonly minimum: number;
  /** How often it may come. */
  readonly maximum: number;

  /** Use the functions above instead. */
  constructor(definition: PatternDefinition, minimum?: number, maximum: number = minimum ?? 1) {
    this.#definition = definition;
    this.#saysHowOften = minimum !== undefined;
    this.minimum = minimum ?? 1;
    this.maximum = maximum;
  }

  static {
    definitionOf = (pattern) => pattern.#definition;
  }

  /**
   * The same, `count` times in a row, or as often as the bounds say. It takes as many as come (it is greedy):
   * the next pattern begins with the first exit that this one does not match. At the end of a transcript it
   * is satisfied, and the guest stopped, as soon as it has come as often as it must.
   *
   * What counts are accesses: a `rep insb` of 4 is one exit (a `rep outsb` is 4 of them), and comes 4 times.
   *
   * @throws {RangeError} When a bound is not a whole number, or the maximum is below the minimum or below 1.
   * @throws {TypeError} When no bound is given, or the pattern says already how often it comes.
   */
  times(count: number | { atLeast?: number; atMost?: number }): ExitPattern {
    return fromCaller(this.times, () => {
      if (this.#saysHowOften) {
        throw new TypeError(
          `Cannot expect ${this.text} ${
            typeof count === "number" ? count : "some"
          } times: it says already how often ` +
            "it comes. Say all of it at once: .times({ atLeast: 0, atMost: 3 })",
        );
      }
      const bounds = typeof count === "number" ? { atLeast: count, atMost: count } : count;
      if (typeof bounds !== "object" || bounds === null) {
        throw new TypeError(
          `Cannot expect ${this.text} ${String(bounds)} times, a ${typeof bounds}: ` +
            "give a number, or { atLeast, atMost } with one of them or both",
        );
      }
      checkOptions(`repeat ${this.text}`, bounds, BOUNDS);
      someEntries(`repeat ${this.text} with`, bounds);
      const { atLeast: minimum = 0, atMost: maximum = Infinity } = bounds;
      const isWhole = (bound: number) => Number.isSafeInteger(bound) && bound >= 0;
      const isRange = isWhole(minimum) && (isWhole(maximum) || maximum === Infinity);
      if (!isRange || maximum < Math.max(1, minimum)) {
        throw new RangeError(
          `Cannot expect ${this.#definition.text} ${countText(minimum, maximum)} times: ` +
            "give a whole number from 1 up, or bounds of which the upper is at least 1 and not below the lower",
        );
      }
      return new ExitPattern(this.#definition, minimum, maximum);
    });
  }

  /**
   * The same, once or not at all.
   *
   * @throws {TypeError} When the pattern says already how often it comes.
   */
  optional(): ExitPattern {
    return fromCaller(this.optional, () => {
      return this.times({ atMost: 1 });
    });
  }

  /** The pattern with its repetition, as failure pages print it. */
  get text(): string {
    const { minimum, maximum } = this;
    if (minimum === 1 && maximum === 1) return this.#definition.text;
    return `${this.#definition.text} × ${countText(minimum, maximum)}`;
  }
}

function countText(minimum: number, maximum: number): string {
  if (minimum === maximum) return `${minimum}`;
  return maximum === Infinity ? `${minimum} or more` : `${minimum} to ${maximum}`;
}
