import type { Exit } from "../../kvm/exit.ts";
import { LAST_PORT } from "../../x86/layout.ts";
import { contentBytes, type MemoryContent } from "../../machine/address_space.ts";
import { littleEndianBytes, repeated } from "../../machine/integer_bytes.ts";
import { formatAddress, formatBytes, formatInteger } from "../format.ts";
import { type Any, any } from "./any.ts";
import { ExitPattern, MISMATCH, type Occurrence } from "./exit_pattern.ts";
import {
  checkExpectedData,
  type ExpectedData,
  expectedDataText,
  takeData,
} from "./expected_data.ts";

/** The size of an access to a port. */
export type PortSize = 1 | 2 | 4;

/**
 * The guest writes to an I/O port.
 *
 * @param port Which port, or {@linkcode any}.
 * @param data What it writes: a number is one `out`; text and bytes may take several, one element each (so `"Hello"` is five
 * `out dx, al`, or one `rep outsb`). Left out, any one `out` matches.
 * @param size The width of each `out` in bytes. Left out, any.
 *
 * @example
 * ```ts
 * import { hlt, portOut } from "@vmexit/vmexit";
 *
 * const transcript = [portOut(0x3f8, "ok\n"), portOut(0x80, 0x1234, 2), hlt()];
 * ```
 */
export function portOut(port: number | Any, data?: ExpectedData, size?: PortSize): ExitPattern {
  checkPort(port);
  checkExpectedData(`at port ${portText(port)}`, data);
  const text = `IO out ${portText(port)} ${sizeText(size)}${expectedDataText(data)}`;
  const names = (exit: Exit) => isAt(exit, port) && exit.direction === "out";
  return new ExitPattern({
    text,
    names,
    begin(): Occurrence {
      let done = 0;
      return {
        text,
        offer(exit) {
          if (!isAt(exit, port) || exit.direction !== "out") return MISMATCH;
          if (size !== undefined && exit.size !== size) return MISMATCH;
          const taken = takeData(data, exit.data, done);
          if (taken === undefined) return MISMATCH;
          done = taken.done;
          return { matches: true, complete: taken.complete };
        },
      };
    },
  });
}

/** The guest reads from an I/O port: {@linkcode portIn} without an answer. A device of the machine must have one. */
export class PortInPattern extends ExitPattern {
  readonly #port: number | Any;
  readonly #size: PortSize | undefined;

  /** Use {@linkcode portIn}. */
  constructor(port: number | Any, size: PortSize | undefined) {
    const text = `IO in ${portText(port)} ${sizeText(size)}`.trimEnd();
    super({
      text,
      names: (exit) => isAt(exit, port) && exit.direction === "in",
      begin: () => ({
        text,
        offer: (exit) =>
          isAt(exit, port) && exit.direction === "in" &&
            (size === undefined || exit.size === size)
            ? { matches: true, complete: true }
            : MISMATCH,
      }),
    });
    this.#port = port;
    this.#size = size;
  }

  /**
   * Answers the read. A number answers one access, and each element of a string instruction; text and bytes are handed out in order, over as many
   * accesses as they last.
   */
  returns(answer: number | bigint | MemoryContent): ExitPattern {
    const port = this.#port;
    const size = this.#size;
    const isValue = typeof answer === "number" || typeof answer === "bigint";
    const bytes = isValue ? undefined : contentBytes(answer);
    const shown = isValue ? formatInteger(BigInt(answer)) : formatBytes(contentBytes(answer));
    const text = `${this.definition.text} → ${shown}`;
    return new ExitPattern({
      text,
      names: this.definition.names,
      begin(): Occurrence {
        let done = 0;
        return {
          text,
          offer(exit) {
            if (!isAt(exit, port) || exit.direction !== "in") return MISMATCH;
            if (size !== undefined && exit.size !== size) return MISMATCH;
            const length = exit.size * exit.count;
            if (isValue) {
              const element = littleEndianBytes(answer, exit.size);
              return { matches: true, complete: true, answer: repeated(element, exit.count) };
            }
            if (done + length > bytes!.length) return MISMATCH;
            done += length;
            return {
              matches: true,
              complete: done === bytes!.length,
              answer: bytes!.slice(done - length, done),
            };
          },
        };
      },
    });
  }
}

/**
 * The guest reads from an I/O port. Say what it gets with `.returns(…)`; without that, a device of the machine must answer.
 *
 * @param port Which port, or {@linkcode any}.
 * @param size The width of each `in` in bytes. Left out, any.
 *
 * @example
 * ```ts
 * import { hlt, portIn } from "@vmexit/vmexit";
 *
 * const transcript = [portIn(0x60).returns(0x1c), portIn(0x1f0, 2).returns("text"), hlt()];
 * ```
 */
export function portIn(port: number | Any, size?: PortSize): PortInPattern {
  checkPort(port);
  return new PortInPattern(port, size);
}

function isAt(exit: Exit, port: number | Any): exit is Extract<Exit, { reason: "IO" }> {
  return exit.reason === "IO" && (port === any || exit.port === port);
}

function checkPort(port: number | Any): void {
  if (port === any) return;
  if (!Number.isInteger(port) || port < 0 || port > LAST_PORT) {
    throw new RangeError(
      `Cannot expect port ${port}: it is not a whole number from 0 to ${formatAddress(LAST_PORT)}`,
    );
  }
}

function portText(port: number | Any): string {
  return port === any ? "any port" : formatAddress(port);
}

function sizeText(size: PortSize | undefined): string {
  return size === undefined ? "" : { 1: "byte ", 2: "word ", 4: "dword " }[size];
}
