import type { MemoryContent } from "../machine/address_space.ts";
import { Machine } from "../machine/machine.ts";
import type { RegisterValues } from "../machine/registers.ts";
import type { RflagsFlag } from "../x86/flag_tables.ts";
import type { FlagValues } from "../x86/flags.ts";
import { matchEnd, matchExitStatus } from "./matchers/end.ts";
import { matchMemory } from "./matchers/memory.ts";
import { matchPortOutput, matchSerial } from "./matchers/output.ts";
import { matchRegisters } from "./matchers/registers.ts";
import { matchTranscript } from "./matchers/transcript.ts";
import type { ExitPattern } from "./patterns/exit_pattern.ts";
import { assertVerdict, type Verdict } from "./verdict.ts";

/** What can be expected of a stopped machine, as it is or, after `.not`, as it is not. */
export class StateExpectation {
  readonly #machine: Machine;
  readonly #negated: boolean;

  /** Use {@linkcode expect}. */
  constructor(machine: Machine, negated: boolean) {
    this.#machine = machine;
    this.#negated = negated;
  }

  /**
   * The registers have these values. Only those that are named are compared; a segment given as a number is compared by its selector.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is no register of a name.
   */
  toHaveRegisters(values: RegisterValues): void {
    this.#assert(matchRegisters(this.#machine, values), this.toHaveRegisters);
  }

  /**
   * RFLAGS has these flags.
   *
   * @throws {AssertionError} When one differs.
   */
  toHaveFlags(flags: FlagValues<RflagsFlag>): void {
    this.#assert(matchRegisters(this.#machine, { rflags: flags }), this.toHaveFlags);
  }

  /**
   * Memory holds this content at a guest physical address.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When there is no memory.
   */
  toHaveMemory(gpa: number, content: MemoryContent): void {
    const { memory } = this.#machine;
    this.#assert(matchMemory(memory, "toHaveMemory", gpa, content), this.toHaveMemory);
  }

  /**
   * Memory holds this content at a linear address, through the guest's page tables.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When it is not mapped, or there is no memory.
   */
  toHaveLinearMemory(linear: number, content: MemoryContent): void {
    this.#assert(
      matchMemory(this.#machine.linear, "toHaveLinearMemory", linear, content),
      this.toHaveLinearMemory,
    );
  }

  /**
   * The guest has written exactly this to a port, whoever answered.
   *
   * @throws {AssertionError} When it has not.
   */
  toHavePortOutput(port: number, content: MemoryContent): void {
    this.#assert(matchPortOutput(this.#machine, port, content), this.toHavePortOutput);
  }

  /**
   * The text on the serial line is this string, or has a match of this regular expression.
   *
   * @throws {AssertionError} When it is not.
   */
  toHaveSerial(text: string | RegExp): void {
    this.#assert(matchSerial(this.#machine, text), this.toHaveSerial);
  }

  /**
   * The guest's latest exit was HLT.
   *
   * @throws {AssertionError} When it was another, or the guest has not run.
   */
  toBeHalted(): void {
    this.#assert(matchEnd(this.#machine, "toBeHalted()", "HLT"), this.toBeHalted);
  }

  /**
   * The guest's latest exit was SHUTDOWN: it has triple-faulted.
   *
   * @throws {AssertionError} When it was another, or the guest has not run.
   */
  toBeShutDown(): void {
    this.#assert(matchEnd(this.#machine, "toBeShutDown()", "SHUTDOWN"), this.toBeShutDown);
  }

  /**
   * The guest has written this to its exit port.
   *
   * @throws {AssertionError} When it has not, or another value.
   */
  toHaveExitStatus(status: number): void {
    this.#assert(matchExitStatus(this.#machine, status), this.toHaveExitStatus);
  }

  // deno-lint-ignore ban-types -- captureStackTrace takes any function, whatever its parameters.
  #assert(verdict: Verdict, matcher: Function): void {
    assertVerdict(this.#machine, verdict, this.#negated, matcher);
  }
}

/** What can be expected of a machine. */
export class Expectation extends StateExpectation {
  readonly #machine: Machine;

  /** Use {@linkcode expect}. */
  constructor(machine: Machine) {
    super(machine, false);
    this.#machine = machine;
  }

  /** The opposite of what follows. */
  get not(): StateExpectation {
    return new StateExpectation(this.#machine, true);
  }

  /**
   * Runs the guest, which must cause exactly these exits in this order; reads are answered as the patterns say. It stops when the last pattern has
   * come as often as it must.
   *
   * Exits that a device of the machine answers may come in between, unless a pattern names their port or address.
   *
   * @throws {AssertionError} At the first exit that is not the one expected, and when the time limit is over.
   * @throws {UnhandledExitError} When a read matches a pattern that has no answer, and no device has one.
   */
  toExit(transcript: readonly ExitPattern[]): void {
    assertVerdict(this.#machine, matchTranscript(this.#machine, transcript), false, this.toExit);
  }
}

/**
 * Assertions on a machine. A failing one throws an {@linkcode AssertionError} whose location is the line of the test and whose text is the failure page: what
 * was expected and received, where the guest was, and what it had done.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, portIn } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   in  al, 0x60
 *   mov [0x800], al
 *   hlt
 * `);
 * expect(vm).toExit([portIn(0x60).returns(0x1c), hlt()]);
 * expect(vm).toHaveRegisters({ al: 0x1c, rflags: { cf: false } });
 * expect(vm).toHaveMemory(0x800, [0x1c]);
 * expect(vm).not.toBeShutDown();
 * ```
 */
export function expect(machine: Machine): Expectation {
  if (!(machine instanceof Machine)) {
    throw new TypeError("Cannot expect anything of that: it is not a machine that boot() made");
  }
  return new Expectation(machine);
}
