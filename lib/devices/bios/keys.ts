import { inSet1, keyOf, scanCodes } from "../i8042/scan_codes.ts";

const ENTER = "\r";

/**
 * A key as INT 16h gives it: the scan code of set 1 in the high byte, the character in the low one. A line feed is the
 * key Enter.
 *
 * @throws {RangeError} When no key of a US keyboard makes the character.
 */
export function scanCodeOf(character: string): number {
  const isEnter = character === "\n" || character === ENTER;
  const found = keyOf(isEnter ? "\n" : character);
  if (found === undefined) {
    throw new RangeError(
      `Cannot type ${JSON.stringify(character)}: no key of a US keyboard makes it`,
    );
  }
  const [scanCode] = inSet1(scanCodes(found.key, true));
  return scanCode << 8 | (isEnter ? ENTER : character).charCodeAt(0);
}
