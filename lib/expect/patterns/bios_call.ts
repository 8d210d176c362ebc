import {
  type BiosCall,
  bitsOfCallRegister,
  CALL_REGISTERS,
  type CallRegister,
  checkCanFail,
  reportsByCarry,
  vectorName,
} from "../../devices/bios/call.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { someEntries } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { noneOfThatName } from "../../x86/nearest_names.ts";
import { checkArguments, holds } from "./access_data.ts";
import {
  definitionOf,
  ExitPattern,
  MATCH,
  MISMATCH,
  type PatternDefinition,
  type PatternMatch,
} from "./exit_pattern.ts";

/**
 * What a pattern says of the registers at a call: values, and functions that judge them. Of one register of 8 bits it may
 * be a text, of as many calls in a row: `int10({ ah: 0x0e, al: "Hello" })`. Segments are there by their selectors.
 */
export type CallRegisters = {
  readonly [Name in CallRegister]?: number | string | ((value: number) => boolean);
};

/** What a call gives the guest: registers, and the flags that services tell by. */
export type CallResult = { readonly [Name in CallRegister]?: number } & {
  /** Whether it failed. Default false, where the services of its vector say so by CF. */
  readonly cf?: boolean;
  /** What INT 16h, AH=01h says by ZF: there is no key. */
  readonly zf?: boolean;
};

const FLAGS: readonly string[] = ["cf", "zf"];
const LAST_VECTOR = 0xff;
const BYTE_BITS = 8;

/**
 * The guest calls a service of its BIOS by the `int` of a vector. The machine has a `Bios` among its devices, which
 * answers, unless the pattern does ({@linkcode BiosCallPattern.fails}, {@linkcode BiosCallPattern.returns}). A transcript
 * that names a vector foresees all calls of it; those of other vectors may come in between.
 *
 * @param registers Those that are compared. Left out, any call of the vector matches.
 * @throws {RangeError} When it is no vector, or a value does not fit its register.
 * @throws {TypeError} When there is no such register, a value is undefined, or `{}` names none.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, int10, int13 } from "@vmexit/vmexit";
 * import { Bios, Disk } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov dl, 0x80
 * again:
 *   mov ax, 0x0201
 *   mov cx, 1
 *   mov dh, 0
 *   mov bx, 0x8000
 *   int 0x13
 *   jc again
 *   mov ax, 0x0e4b
 *   int 0x10
 *   hlt
 * `, { devices: [new Bios({ disks: { 0x80: new Disk(512) } })] });
 * expect(vm).toExit([
 *   int13({ ah: 0x02, dl: 0x80 }).fails(0x80).times(2), // not ready
 *   int13({ ah: 0x02, dl: 0x80, bx: 0x8000 }),
 *   int10({ ah: 0x0e, al: "K" }),
 *   hlt(),
 * ]);
 * ```
 */
export function biosCall(vector: number, registers?: CallRegisters): BiosCallPattern {
  return fromCaller(biosCall, () => {
    checkArguments("biosCall", arguments, ["vector", "registers"]);
    if (!Number.isInteger(vector) || vector < 0 || vector > LAST_VECTOR) {
      throw new RangeError(
        `Cannot expect a call of vector ${String(vector)}: it is no whole number from 0 to 0xff`,
      );
    }
    return pattern(vector, registers, arguments.length > 1);
  });
}

/** The guest calls a video service: see {@linkcode biosCall}. */
export function int10(registers?: CallRegisters): BiosCallPattern {
  return fromCaller(int10, () => pattern(0x10, registers, arguments.length > 0));
}

/** The guest calls a disk service: see {@linkcode biosCall}. */
export function int13(registers?: CallRegisters): BiosCallPattern {
  return fromCaller(int13, () => pattern(0x13, registers, arguments.length > 0));
}

/** The guest calls a system service: see {@linkcode biosCall}. */
export function int15(registers?: CallRegisters): BiosCallPattern {
  return fromCaller(int15, () => pattern(0x15, registers, arguments.length > 0));
}

/** The guest calls a keyboard service: see {@linkcode biosCall}. */
export function int16(registers?: CallRegisters): BiosCallPattern {
  return fromCaller(int16, () => pattern(0x16, registers, arguments.length > 0));
}

/** The guest calls a service of the clock: see {@linkcode biosCall}. */
export function int1A(registers?: CallRegisters): BiosCallPattern {
  return fromCaller(int1A, () => pattern(0x1a, registers, arguments.length > 0));
}

function pattern(
  vector: number,
  registers: CallRegisters | undefined,
  isGiven: boolean,
): BiosCallPattern {
  const called = vectorName(vector);
  if (isGiven && registers === undefined) {
    throw new TypeError(
      `Cannot expect ${called} with registers undefined: leave them out, or is a name misspelt where they come from?`,
    );
  }
  const wanted = registers === undefined ? [] : someEntries(`expect ${called} with`, registers);
  for (const [name, value] of wanted) checkRegister(`expect ${called} with`, name, value);
  const texts = wanted.filter(([, value]) => typeof value === "string");
  if (texts.length > 1) {
    throw new TypeError(
      `Cannot expect ${called} with texts in ${texts.map(([name]) => name).join(" and ")}: ` +
        "a text stands for as many calls as it has characters. Give it in one register.",
    );
  }
  const [text] = texts.map(([, value]) => value as string);
  const shown = wanted.map(([name, value]) => `${name} ${valueText(value)}`).join(", ");
  const description = shown === "" ? called : `${called} (${shown})`;
  return new BiosCallPattern(vector, {
    text: description,
    check: ({ machine }) => {
      if (machine.hasBios) return;
      throw new TypeError(
        `Cannot expect ${description}: the machine has no BIOS. Boot it with \`devices: [new Bios()]\`.`,
      );
    },
    names: (_exit, call) => call?.vector === vector,
    begin() {
      let done = 0;
      return {
        get text() {
          return done === 0
            ? description
            : `the rest of ${description}: ${JSON.stringify(text.slice(done))}`;
        },
        offer: () => MISMATCH,
        offerCall(call) {
          const isSame = call.vector === vector &&
            wanted.every(([name, value]) => has(call, name as CallRegister, value, done));
          if (!isSame) return MISMATCH;
          return text === undefined || ++done === text.length
            ? MATCH
            : { matches: true, complete: false };
        },
      };
    },
  });
}

/** A call of the BIOS's that is expected, and can be answered by the test: see {@linkcode biosCall}. */
export class BiosCallPattern extends ExitPattern {
  readonly #vector: number;

  /** Use {@linkcode biosCall}, and those named by their vectors. */
  constructor(vector: number, definition: PatternDefinition) {
    super(definition);
    this.#vector = vector;
  }

  /**
   * The call fails: by CF, and the status in AH. The service is not performed.
   *
   * @throws {TypeError} When the services of its vector do not say so by CF.
   * @throws {RangeError} When the status is none, or that of success.
   */
  fails(status: number): ExitPattern {
    return fromCaller(this.fails, () => {
      checkCanFail(this.#vector, status);
      return this.#answered(` fails by ${hex(status)}`, (call) => call.result(status));
    });
  }

  /**
   * Answers the call in place of the service: with registers, which are otherwise as they were, and flags.
   *
   * @throws {TypeError} When there is no such register, a value is undefined, or `{}` names none.
   * @throws {RangeError} When a value does not fit.
   */
  returns(result: CallResult): ExitPattern {
    return fromCaller(this.returns, () => {
      const what = `answer ${vectorName(this.#vector)} by`;
      const given = someEntries(what, result);
      for (const [name, value] of given) {
        if (FLAGS.includes(name)) {
          if (typeof value === "boolean") continue;
          throw new TypeError(`Cannot ${what} ${name} ${String(value)}: give true or false`);
        }
        checkRegister(what, name, value);
        if (typeof value === "number") continue;
        throw new TypeError(`Cannot ${what} ${name} ${String(value)}: give a number`);
      }
      return this.#answered("", (call) => {
        if (reportsByCarry(this.#vector)) call.carry = false;
        for (const [name, value] of given) {
          if (name === "cf") call.carry = value as boolean;
          else if (name === "zf") call.zero = value as boolean;
          else call.write(name as CallRegister, value as number);
        }
      });
    });
  }

  #answered(how: string, answerCall: (call: BiosCall) => void): ExitPattern {
    const definition = definitionOf(this);
    return new ExitPattern({
      ...definition,
      text: definition.text + how,
      begin() {
        const occurrence = definition.begin();
        return {
          get text() {
            return occurrence.text + how;
          },
          offer: occurrence.offer,
          offerCall(call): PatternMatch {
            const match = occurrence.offerCall!(call);
            return match.matches ? { ...match, answerCall } : match;
          },
        };
      },
    });
  }
}

function checkRegister(what: string, name: string, value: unknown): void {
  const register = CALL_REGISTERS.find((each) => each === name);
  if (register === undefined) {
    throw new TypeError(
      `Cannot ${what} ${name}: calls have no such register; ${
        noneOfThatName(name, CALL_REGISTERS)
      }`,
    );
  }
  const bits = bitsOfCallRegister(register);
  if (typeof value === "function") return;
  if (typeof value === "string") {
    const isText = value !== "" && [...value].every((each) => each.charCodeAt(0) <= 0xff);
    if (isText && bits === BYTE_BITS) return;
    throw new RangeError(
      `Cannot ${what} ${name} ${
        JSON.stringify(value)
      }: a text is of characters up to 0xff, in a register of 8 bits`,
    );
  }
  if (typeof value !== "number") {
    throw new TypeError(`Cannot ${what} ${name} ${String(value)}: give a number`);
  }
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return;
  throw new RangeError(
    `Cannot ${what} ${name} ${String(value)}: it is no whole number of ${bits} bits`,
  );
}

function has(call: BiosCall, name: CallRegister, value: unknown, done: number): boolean {
  const actual = call.read(name);
  if (typeof value === "function") return holds(value as (value: never) => unknown, actual);
  return actual === (typeof value === "string" ? value.charCodeAt(done) : value);
}

function valueText(value: unknown): string {
  if (typeof value === "number") return hex(value);
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "function" && value.name !== "" ? value.name : "matching";
}
