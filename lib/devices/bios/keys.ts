/** The rows of a US keyboard with the scan code of each row's first key; without and with Shift. */
const ROWS: readonly (readonly [first: number, plain: string, shifted: string])[] = [
  [0x02, "1234567890-=\b\tqwertyuiop[]\r", "!@#$%^&*()_+\b\tQWERTYUIOP{}\r"],
  [0x1e, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"],
  [0x39, " ", " "],
  [0x01, "\x1b", "\x1b"],
];

/**
 * A key as INT 16h gives it: the scan code of set 1 in the high byte, the character in the low one. A line feed is the
 * key Enter.
 *
 * @throws {RangeError} When no key of a US keyboard makes the character.
 */
export function scanCodeOf(character: string): number {
  const wanted = character === "\n" ? "\r" : character;
  for (const [first, plain, shifted] of ROWS) {
    const index = Math.max(plain.indexOf(wanted), shifted.indexOf(wanted));
    if (index >= 0) return first + index << 8 | wanted.charCodeAt(0);
  }
  throw new RangeError(
    `Cannot type ${JSON.stringify(character)}: no key of a US keyboard makes it`,
  );
}
