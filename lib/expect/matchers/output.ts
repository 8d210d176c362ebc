import type { MachineCpu } from "../../machine/machine.ts";
import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { LAST_PORT } from "../../x86/layout.ts";
import { contentDifference, textDifference } from "../difference.ts";
import { formatAddress, formatContent, formatText } from "../format.ts";
import { checkSize } from "../patterns/access_data.ts";
import { PORT_SIZES } from "../patterns/port.ts";
import type { MatcherResult } from "../failure_page.ts";

const ASCII = String.fromCharCode(...Array(0x80).keys());

/** Texts of which a regular expression that says something matches not each: none, each character, and all of them. */
const ANY_TEXT: readonly string[] = ["", ...ASCII, ASCII];

/**
 * Compares all that the guest wrote to one port.
 *
 * @param size The width of each `out`.
 * @throws {RangeError} When there is no such port or width, or the content is not bytes.
 */
export function matchPortOutput(
  machine: MachineCpu,
  port: number,
  content: MemoryContent,
  size: 1 | 2 | 4 = 1,
): MatcherResult {
  if (!Number.isInteger(port) || port < 0 || port > LAST_PORT) {
    throw new RangeError(
      `Cannot expect output of port ${String(port)}: it is not a whole number from 0 to ${
        formatAddress(LAST_PORT)
      }`,
    );
  }
  checkSize(`at port ${formatAddress(port)}`, { size, sizes: PORT_SIZES });
  const { portOutput } = machine;
  const expected = contentBytes(content);
  const received = portOutput.bytes(port);
  const dropped = portOutput.dropped(port);
  const sizes = portOutput.sizes(port);
  const isSame = dropped === 0 && expected.length === received.length &&
    expected.every((byte, index) => byte === received[index]);
  const isOfWidth = sizes.every((each) => each === size);
  const matches = isSame && isOfWidth;
  const width = isOfWidth ? "" : `, in accesses of ${sizes.join(" and ")} bytes`;
  return {
    call: `toHavePortOutput(${formatAddress(port)}, ${formatContent(content)}${
      size === 1 ? "" : `, ${size}`
    })`,
    matches,
    isOfRun: true,
    isOfWay: true,
    objection: isSame && !isOfWidth
      ? `the guest has written just that${width}, and ${size} is asked for`
      : undefined,
    comparisons: () => {
      const difference = contentDifference(content, received);
      const rest = dropped === 0 ? "" : ` and ${dropped} bytes more that were not kept`;
      return [{
        what: `output of port ${formatAddress(port)}`,
        ...difference,
        received: difference.received + rest + width,
        matches,
      }];
    },
  };
}

/**
 * Compares the text that the guest wrote to its serial line: all of it with a string, some of it with a
 * regular expression.
 *
 * @throws {TypeError} When it is neither, the machine has no serial line, or not all that it took was kept.
 * @throws {RangeError} When the regular expression matches every text.
 */
export function matchSerial(machine: MachineCpu, expected: string | RegExp): MatcherResult {
  if (typeof expected !== "string" && !(expected instanceof RegExp)) {
    throw new TypeError(
      `Cannot expect a serial line to be ${typeof expected}: give a string or a regular expression`,
    );
  }
  if (expected instanceof RegExp && ANY_TEXT.every((text) => text.search(expected) !== -1)) {
    throw new RangeError(
      `Cannot expect a serial line to match ${expected}: every text does. Name what is to be in it.`,
    );
  }
  const received = machine.serial.text;
  checkIsWhole(machine);
  // Not test(): with the flag g it begins where the last call ended.
  const matches = typeof expected === "string"
    ? bytesText(machine.serial.bytes) === bytesText(contentBytes(expected))
    : hasMatch(machine.serial.bytes, received, expected);
  return {
    call: `toHaveSerial(${typeof expected === "string" ? formatText(expected) : expected})`,
    matches,
    isOfRun: true,
    isOfWay: true,
    comparisons: () => [{
      what: "serial",
      ...typeof expected === "string"
        ? textDifference(expected, received)
        : { expected: `a match of ${expected}`, received: formatText(received) },
      matches,
    }],
  };
}

/**
 * Compares a part of the text that the guest wrote to its serial line.
 *
 * @throws {TypeError} When it is not a string, the machine has no serial line, or not all that it took was kept.
 * @throws {RangeError} When it is empty: every text contains that.
 */
export function matchSerialPart(machine: MachineCpu, part: string): MatcherResult {
  if (typeof part !== "string") {
    throw new TypeError(
      `Cannot expect a serial line to contain ${typeof part}: give a string, or a regular expression to toHaveSerial`,
    );
  }
  if (part === "") {
    throw new RangeError(
      "Cannot expect a serial line to contain an empty text: every text does. Give toHaveSerial one to expect silence.",
    );
  }
  const received = machine.serial.text;
  checkIsWhole(machine);
  const matches = bytesText(machine.serial.bytes).includes(bytesText(contentBytes(part)));
  return {
    call: `toHaveSerialContaining(${formatText(part)})`,
    matches,
    isOfRun: true,
    isOfWay: true,
    comparisons: () => [{
      what: "serial",
      expected: `a text with ${formatText(part)}`,
      received: formatText(received),
      matches,
    }],
  };
}

/** Of what was not kept nothing can be said, neither that a text is in it nor that it is not. */
function checkIsWhole({ serial: { dropped } }: MachineCpu): void {
  if (dropped === 0) return;
  throw new TypeError(
    `Cannot tell what is on the serial line: ${dropped} bytes after the first MiB were not kept. ` +
      "Answer its ports with a device of the test's own (`serial: false`), or let the guest say less.",
  );
}

/**
 * Bytes as a text in which they can be looked for, a character each: of a decoded one a byte order mark is gone, and what
 * is no UTF-8 is all alike.
 */
function bytesText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/**
 * Whether an expression has a match in a text.
 *
 * @throws {TypeError} When that hangs on bytes which are no UTF-8: in the text they are all one character.
 */
function hasMatch(bytes: Uint8Array, text: string, expected: RegExp): boolean {
  const expression = withoutPlace(expected);
  const matches = text.search(expression) !== -1;
  if (bytesText(bytes) === bytesText(new TextEncoder().encode(text))) return matches;
  if ((bytesText(bytes).search(expression) !== -1) === matches) return matches;
  throw new TypeError(
    `Cannot tell whether a serial line matches ${expected}: some of its bytes are no UTF-8, and it hangs on them. ` +
      "Compare vm.serial.bytes, or what the guest wrote to port 0x3f8.",
  );
}

/** Without the flag y, by which an expression is looked for at one place alone. */
function withoutPlace({ source, flags }: RegExp): RegExp {
  return new RegExp(source, flags.replace("y", ""));
}
