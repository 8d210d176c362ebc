import type { Exit } from "../../kvm/exit.ts";
import { contentBytes, type MemoryContent } from "../../machine/address_space.ts";
import { littleEndianBytes } from "../../machine/integer_bytes.ts";
import { formatAddress, formatBytes, formatInteger } from "../format.ts";
import { type Any, any } from "./any.ts";
import { ExitPattern, MISMATCH, type Occurrence } from "./exit_pattern.ts";
import {
  checkExpectedData,
  type ExpectedData,
  expectedDataText,
  takeData,
} from "./expected_data.ts";

/**
 * The guest writes to a physical address that has no memory behind it, or only read-only memory.
 *
 * @param address The guest physical address, or {@linkcode any}.
 * @param data What it writes: a number is one access; text and bytes may take several at ascending addresses, which is
 * also how the parts of an access that crosses pages arrive. Left out, any one access matches.
 * @param size The width of each access in bytes, 1 to 8. Left out, any.
 *
 * @example
 * ```ts
 * import { hlt, mmioWrite } from "@vmexit/vmexit";
 *
 * const transcript = [mmioWrite(0xfee000b0, 0, 4), mmioWrite(0xb8000, "H\x07"), hlt()];
 * ```
 */
export function mmioWrite(address: number | Any, data?: ExpectedData, size?: number): ExitPattern {
  checkAddress(address);
  checkExpectedData(`at ${addressText(address)}`, data);
  const text = `MMIO write ${addressText(address)} ${sizeText(size)}${expectedDataText(data)}`;
  return new ExitPattern({
    text,
    names: (exit) => isMmio(exit) && exit.isWrite && (address === any || exit.gpa === address),
    begin(): Occurrence {
      let done = 0;
      return {
        text,
        offer(exit) {
          if (!isMmio(exit) || !exit.isWrite || !isAt(exit, address, done)) return MISMATCH;
          if (size !== undefined && exit.data.length !== size) return MISMATCH;
          const taken = takeData(data, exit.data, done);
          if (taken === undefined) return MISMATCH;
          done = taken.done;
          return { matches: true, complete: taken.complete };
        },
      };
    },
  });
}

/** The guest reads from a physical address without memory: {@linkcode mmioRead} without an answer. A device of the machine must have one. */
export class MmioReadPattern extends ExitPattern {
  readonly #address: number | Any;
  readonly #size: number | undefined;

  /** Use {@linkcode mmioRead}. */
  constructor(address: number | Any, size: number | undefined) {
    const text = `MMIO read ${addressText(address)} ${sizeText(size)}`.trimEnd();
    super({
      text,
      names: (exit) => isRead(exit, address, 0, undefined),
      begin: () => ({
        text,
        offer: (exit) =>
          isRead(exit, address, 0, size) ? { matches: true, complete: true } : MISMATCH,
      }),
    });
    this.#address = address;
    this.#size = size;
  }

  /** Answers the read: with a number, or with bytes or text, which may take several accesses at ascending addresses. */
  returns(answer: number | bigint | MemoryContent): ExitPattern {
    const address = this.#address;
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
            if (!isRead(exit, address, done, size)) return MISMATCH;
            const length = exit.data.length;
            if (isValue) {
              return { matches: true, complete: true, answer: littleEndianBytes(answer, length) };
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
 * The guest reads from a physical address that has no memory behind it. Say what it gets with `.returns(…)`; without that, a device of the machine
 * must answer.
 *
 * @param address The guest physical address, or {@linkcode any}.
 * @param size The width of each access in bytes, 1 to 8. Left out, any.
 *
 * @example
 * ```ts
 * import { hlt, mmioRead } from "@vmexit/vmexit";
 *
 * const transcript = [mmioRead(0xfee00030).returns(0x50014), hlt()];
 * ```
 */
export function mmioRead(address: number | Any, size?: number): MmioReadPattern {
  checkAddress(address);
  return new MmioReadPattern(address, size);
}

type MmioExit = Extract<Exit, { reason: "MMIO" }>;

function isMmio(exit: Exit): exit is MmioExit {
  return exit.reason === "MMIO";
}

function isRead(
  exit: Exit,
  address: number | Any,
  done: number,
  size: number | undefined,
): exit is MmioExit {
  return isMmio(exit) && !exit.isWrite && isAt(exit, address, done) &&
    (size === undefined || exit.data.length === size);
}

function isAt(exit: MmioExit, address: number | Any, done: number): boolean {
  return address === any || exit.gpa === address + done;
}

function checkAddress(address: number | Any): void {
  if (address === any) return;
  if (!Number.isSafeInteger(address) || address < 0) {
    throw new RangeError(
      `Cannot expect an access at ${address}: it is not a guest physical address`,
    );
  }
}

function addressText(address: number | Any): string {
  return address === any ? "any address" : formatAddress(address);
}

function sizeText(size: number | undefined): string {
  return size === undefined ? "" : `${size} byte${size === 1 ? "" : "s"} `;
}
