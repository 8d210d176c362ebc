import type { Exit, MmioExit } from "../../kvm/exits/exit.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { LAST_PHYSICAL_ADDRESS } from "../../x86/layout.ts";
import { formatAddress, formatCount } from "../format.ts";
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
  expectedLength,
  naturalSize,
  plainRead,
  plainWrite,
  whyNot,
  writing,
} from "./access_data.ts";
import { any, definitionOf, ExitPattern, MATCH, MISMATCH } from "./exit_pattern.ts";

/** KVM hands on at most 8 bytes at once, and as few as one where an access crosses a page. */
const SIZES: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8];

/**
 * The guest writes to a physical address that has no memory behind it, or only read-only memory.
 *
 * @param address The guest physical address, or {@linkcode any}.
 * @param data What it writes: a number is one access; text and bytes may take several at ascending addresses,
 * which is also how the parts of an access that crosses pages arrive. Left out, or {@linkcode any}, any one access
 * matches.
 * @param size The width of each access in bytes, 1 to 8. Left out, of a number the narrowest that holds it (a
 * `mov dword [address], 0` is `mmioWrite(address, 0, 4)`); of text and bytes any.
 * @throws {RangeError} When there is no such address or width, or no access could bring the data.
 * @throws {TypeError} When the data is none.
 *
 * @example
 * ```ts
 * import { hlt, mmioWrite } from "@vmexit/vmexit";
 *
 * const transcript = [mmioWrite(0xfee000b0, 0, 4), mmioWrite(0xb8000, "H\x07"), hlt()];
 * ```
 */
export function mmioWrite(
  address: number | typeof any,
  data?: ExpectedData,
  size?: number,
): ExitPattern {
  return fromCaller(mmioWrite, () => {
    checkArguments("mmioWrite", arguments, ["address", "data", "size"]);
    checkAddress(address, size);
    checkExpectedData(`at ${addressText(address)}`, data, { size, sizes: SIZES });
    const width = size ?? naturalSize(data);
    const text = `${headText("write", address, width)} ${expectedDataText(data)}`;
    const names = (exit: Exit) =>
      isMmio(exit, true) && isWithin(exit, address, Math.max(width ?? 1, expectedLength(data)));
    return new ExitPattern(
      writing(
        { text, names, access: plainWrite(accessAt(true, address, width), data) },
        data,
        (exit, done, first) =>
          isAt(exit, true, placeOf(address, first), done, width)
            ? { size: exit.len, data: exit.data }
            : undefined,
      ),
    );
  });
}

/**
 * The guest reads from a physical address without memory: {@linkcode mmioRead} without an answer. A device of
 * the machine must have one.
 */
export class MmioReadPattern extends ExitPattern {
  readonly #address: number | typeof any;
  readonly #size: number | undefined;

  /** Use {@linkcode mmioRead}. */
  constructor(address: number | typeof any, size: number | undefined) {
    const text = headText("read", address, size);
    super({
      text,
      names: (exit) => isMmio(exit, false) && isWithin(exit, address, size ?? 1),
      access: accessAt(false, address, size),
      begin: () => ({
        text,
        offer: (exit) => isAt(exit, false, address, 0, size) ? MATCH : MISMATCH,
      }),
    });
    this.#address = address;
    this.#size = size;
  }

  /**
   * Answers the read: with a number, or with bytes or text, which may take several accesses at ascending
   * addresses. Where the pattern has no width, a number answers the narrowest access that holds it: a
   * `mov eax, [address]` is `mmioRead(address, 4).returns(0)`.
   *
   * @throws {RangeError} When no access could carry the answer.
   * @throws {TypeError} When it is neither number, bigint, text nor bytes.
   */
  returns(answer: Answer): ExitPattern {
    return fromCaller(this.returns, () => {
      const address = this.#address;
      checkValue("answer", `at ${addressText(address)}`, answer, {
        size: this.#size,
        sizes: SIZES,
      });
      const size = this.#size ?? naturalSize(answer);
      const text = headText("read", address, size);
      const names = (exit: Exit) =>
        isMmio(exit, false) && isWithin(exit, address, Math.max(size ?? 1, expectedLength(answer)));
      return new ExitPattern(
        answering(
          {
            ...definitionOf(this),
            text,
            names,
            access: plainRead(accessAt(false, address, size), answer),
          },
          answer,
          (exit, done, first) =>
            isAt(exit, false, placeOf(address, first), done, size)
              ? { size: exit.data.length, count: 1 }
              : undefined,
        ),
      );
    });
  }
}

/**
 * The guest reads from a physical address that has no memory behind it. Say what it gets with `.returns(…)`;
 * without that, a device of the machine must answer.
 *
 * @param address The guest physical address, or {@linkcode any}.
 * @param size The width of each access in bytes, 1 to 8. Left out, it is that of the answer; without a number as the
 * answer, any.
 * @throws {RangeError} When there is no such address or width.
 *
 * @example
 * ```ts
 * import { hlt, mmioRead } from "@vmexit/vmexit";
 *
 * const transcript = [mmioRead(0xfee00030).returns(0x50014), hlt()];
 * ```
 */
export function mmioRead(address: number | typeof any, size?: number): MmioReadPattern {
  return fromCaller(mmioRead, () => {
    checkArguments("mmioRead", arguments, ["address", "size"]);
    checkAddress(address, size);
    return new MmioReadPattern(address, size);
  });
}

function accessAt(
  isWrite: boolean,
  address: number | typeof any,
  size: number | undefined,
): AccessPlace {
  return { isMmio: true, isWrite, place: address === any ? undefined : address, size };
}

function isMmio(exit: Exit, isWrite: boolean): exit is MmioExit {
  return exit.reason === "MMIO" && exit.isWrite === isWrite;
}

/** Whether an exit is the access that comes after `done` bytes of those from `address` on. */
function isAt(
  exit: Exit,
  isWrite: boolean,
  address: number | typeof any,
  done: number,
  size: number | undefined,
): exit is MmioExit {
  return isMmio(exit, isWrite) && (address === any || exit.gpa === address + done) &&
    (size === undefined || exit.data.length === size);
}

/** Whether an access touches any of the bytes that a pattern is about: a wider one beside them may. */
function isWithin({ gpa, len }: MmioExit, address: number | typeof any, length: number): boolean {
  return address === any || (gpa + len > address && gpa < address + length);
}

/** Where the accesses of text and bytes begin: at any address, where the first of them was. */
function placeOf(address: number | typeof any, first: Exit | undefined): number | typeof any {
  return address === any && first?.reason === "MMIO" ? first.gpa : address;
}

function checkAddress(address: number | typeof any, size: number | undefined): void {
  if (
    address !== any &&
    !(Number.isSafeInteger(address) && address >= 0 && address <= LAST_PHYSICAL_ADDRESS)
  ) {
    throw new RangeError(
      `Cannot expect an access at ${String(address)}: ${
        whyNot(
          address,
          `a guest physical address, a whole number from 0 to ${
            formatAddress(LAST_PHYSICAL_ADDRESS)
          }`,
        )
      }`,
    );
  }
  checkSize(`at ${addressText(address)}`, { size, sizes: SIZES });
}

function headText(
  direction: "read" | "write",
  address: number | typeof any,
  size?: number,
): string {
  const width = size === undefined ? "" : ` ${formatCount(size, "byte")}`;
  return `MMIO ${direction} ${addressText(address)}${width}`;
}

function addressText(address: number | typeof any): string {
  return address === any ? "any address" : formatAddress(address);
}
