import type { Exit, IoExit } from "../../kvm/exits/exit.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { LAST_PORT } from "../../x86/layout.ts";
import { formatAddress } from "../format.ts";
import {
  type AccessPlace,
  type Answer,
  answering,
  checkArguments,
  checkExpectedData,
  checkSize,
  checkValue,
  type ExpectedData,
  expectedDataText,
  naturalSize,
  plainRead,
  plainWrite,
  whyNot,
  writing,
} from "./access_data.ts";
import { any, definitionOf, ExitPattern, MATCH, MISMATCH } from "./exit_pattern.ts";

/** The accesses that `in` and `out` make, by their bytes, as tables of exits name them. */
const ACCESS: Readonly<Record<1 | 2 | 4, string>> = { 1: "byte", 2: "word", 4: "dword" };
/** The widths that there are. */
export const PORT_SIZES: readonly (1 | 2 | 4)[] = [1, 2, 4];

/**
 * The guest writes to an I/O port.
 *
 * @param port Which port, or {@linkcode any}.
 * @param data What it writes: a number is one `out`; text and bytes may take several, one element each (so `"Hello"` is
 *   five `out dx, al`, or one `rep outsb`). Left out, or {@linkcode any}, any one `out` matches.
 * @param size The width of each `out` in bytes. Left out, the narrowest that holds the number, 1 for text and bytes,
 *   and any for a function: an `out dx, eax` of 0 is `portOut(port, 0, 4)`.
 * @throws {RangeError} When there is no such port or width, or no `out` could bring the data.
 * @throws {TypeError} When the data is none.
 *
 * @example
 * ```ts
 * import { hlt, portOut } from "@vmexit/vmexit";
 *
 * const transcript = [portOut(0x3f8, "ok\n"), portOut(0x80, 0x1234, 2), hlt()];
 * ```
 */
export function portOut(
  port: number | typeof any,
  data?: ExpectedData,
  size?: 1 | 2 | 4,
): ExitPattern {
  return fromCaller(portOut, () => {
    checkArguments("portOut", arguments, ["port", "data", "size"]);
    checkPort(port, size);
    checkExpectedData(`at ${portText(port)}`, data, { size, sizes: PORT_SIZES });
    const width = size ?? sizeOf(data);
    const text = `${headText("out", port, width)} ${expectedDataText(data)}`;
    return new ExitPattern(
      writing(
        {
          text,
          names: (exit) => touches(exit, "out", port, width),
          access: plainWrite(accessAt("out", port, width), data),
        },
        data,
        (exit, _, first) => isAt(exit, "out", placeOf(port, first), width) ? exit : undefined,
      ),
    );
  });
}

/**
 * The guest reads from an I/O port: {@linkcode portIn} without an answer. A device of the machine must have
 * one.
 */
export class PortInPattern extends ExitPattern {
  readonly #port: number | typeof any;
  readonly #size: 1 | 2 | 4 | undefined;

  /** Use {@linkcode portIn}. */
  constructor(port: number | typeof any, size: 1 | 2 | 4 | undefined) {
    const text = headText("in", port, size);
    super({
      text,
      names: (exit) => touches(exit, "in", port, size),
      access: accessAt("in", port, size),
      begin: () => ({
        text,
        offer: (exit) => isAt(exit, "in", port, size) ? { ...MATCH, count: exit.count } : MISMATCH,
      }),
    });
    this.#port = port;
    this.#size = size;
  }

  /**
   * Answers the read. A number answers one access, of which a string instruction makes several
   * ({@linkcode ExitPattern.times}); text and bytes are handed out in order, over as many accesses as they last. Where
   * the pattern has no width, it is the narrowest that holds the number, and 1 for text and bytes: an `in eax, dx` is
   * `portIn(port, 4).returns(0)`.
   *
   * @throws {RangeError} When no `in` could carry the answer.
   * @throws {TypeError} When it is neither number, bigint, text nor bytes.
   */
  returns(answer: Answer): ExitPattern {
    return fromCaller(this.returns, () => {
      const port = this.#port;
      checkValue("answer", `at ${portText(port)}`, answer, { size: this.#size, sizes: PORT_SIZES });
      const size = this.#size ?? sizeOf(answer);
      return new ExitPattern(
        answering(
          {
            ...definitionOf(this),
            text: headText("in", port, size),
            names: (exit) => touches(exit, "in", port, size),
            access: plainRead(accessAt("in", port, size), answer),
          },
          answer,
          (exit, _, first) => isAt(exit, "in", placeOf(port, first), size) ? exit : undefined,
        ),
      );
    });
  }
}

/**
 * The guest reads from an I/O port. Say what it gets with `.returns(…)`; without that, a device of the
 * machine must answer.
 *
 * @param port Which port, or {@linkcode any}.
 * @param size The width of each `in` in bytes. Left out, it is that of the answer; without an answer, any.
 * @throws {RangeError} When there is no such port or width.
 *
 * @example
 * ```ts
 * import { hlt, portIn } from "@vmexit/vmexit";
 *
 * const transcript = [portIn(0x60).returns(0x1c), portIn(0x1f0, 2).returns("text"), hlt()];
 * ```
 */
export function portIn(port: number | typeof any, size?: 1 | 2 | 4): PortInPattern {
  return fromCaller(portIn, () => {
    checkArguments("portIn", arguments, ["port", "size"]);
    checkPort(port, size);
    return new PortInPattern(port, size);
  });
}

/** The width of accesses that carry data, where the test does not say it; undefined where any will do. */
function sizeOf(data: ExpectedData | undefined): 1 | 2 | 4 | undefined {
  if (typeof data === "string" || Array.isArray(data) || data instanceof Uint8Array) return 1;
  return naturalSize(data) as 1 | 2 | 4 | undefined;
}

function accessAt(
  direction: IoExit["direction"],
  port: number | typeof any,
  size: number | undefined,
): AccessPlace {
  const place = port === any ? undefined : port;
  return { isMmio: false, isWrite: direction === "out", place, size };
}

function isAt(
  exit: Exit,
  direction: IoExit["direction"],
  port: number | typeof any,
  size: number | undefined,
): exit is IoExit {
  return exit.reason === "IO" && exit.direction === direction &&
    (port === any || exit.port === port) && (size === undefined || exit.size === size);
}

/** Whether an access touches any of the ports that a pattern's access covers: a wider one below them may. */
function touches(
  exit: Exit,
  direction: IoExit["direction"],
  port: number | typeof any,
  size: number = 1,
): boolean {
  return exit.reason === "IO" && exit.direction === direction &&
    (port === any || (exit.port < port + size && port < exit.port + exit.size));
}

/** Where the accesses of text and bytes are: at any port, where the first of them was. */
function placeOf(port: number | typeof any, first: Exit | undefined): number | typeof any {
  return port === any && first?.reason === "IO" ? first.port : port;
}

function checkPort(port: number | typeof any, size: number | undefined): void {
  if (port !== any && !(Number.isInteger(port) && port >= 0 && port <= LAST_PORT)) {
    throw new RangeError(
      `Cannot expect port ${String(port)}: ${
        whyNot(port, `a whole number from 0 to ${formatAddress(LAST_PORT)}`)
      }`,
    );
  }
  checkSize(`at ${portText(port)}`, { size, sizes: PORT_SIZES });
}

function headText(
  direction: IoExit["direction"],
  port: number | typeof any,
  size?: 1 | 2 | 4,
): string {
  const place = port === any ? "any port" : formatAddress(port);
  return `IO ${direction} ${place}${size === undefined ? "" : ` ${ACCESS[size]}`}`;
}

function portText(port: number | typeof any): string {
  return port === any ? "any port" : `port ${formatAddress(port)}`;
}
