import type { Address } from "../../guest/address.ts";
import {
  addressAfter,
  type AddressSpace,
  areLive,
  contentBytes,
  type MemoryContent,
} from "../../machine/memory/address_space.ts";
import { formatAddress, formatContent, formatCount, hexBytes } from "../format.ts";
import type { MatcherResult } from "../failure_page.ts";
import { contentDifference } from "../difference.ts";

const MOST_ROWS = 4;
const PER_ROW = 16;

/**
 * Compares memory with bytes, a list of byte values, or text.
 *
 * @throws {RangeError} When the content is empty or not bytes, or there is no such label or no memory.
 * @throws {TypeError} When it is a view of the guest's own memory.
 */
export function matchMemory(
  space: AddressSpace,
  matcher: "toHaveMemory" | "toHaveLinearMemory",
  where: Address,
  content: MemoryContent,
): MatcherResult {
  checkIsNoView(content);
  const address = space.addressOf(where);
  const label = typeof where === "string" ? JSON.stringify(where) : undefined;
  const expected = contentBytes(content);
  const kind = matcher === "toHaveMemory" ? "physical" : "linear";
  if (expected.length === 0) {
    throw new RangeError(
      `Cannot expect no bytes at ${kind} ${formatAddress(address)}: give at least one`,
    );
  }
  const received = space.read(address, expected.length);
  const matches = expected.every((byte, index) => byte === received[index]);
  return {
    call: `${matcher}(${label ?? formatAddress(address)}, ${formatContent(content)})`,
    matches,
    comparisons: () => [{
      what: `${kind} ${formatAddress(address)}${label === undefined ? "" : ` (${where})`}`,
      ...contentDifference(content, received),
      matches,
    }],
    details: matches || expected.length <= PER_ROW
      ? undefined
      : () => differingRows(address, expected, received),
  };
}

/** Guest memory that is seen live would be compared with itself. */
function checkIsNoView(content: MemoryContent): void {
  if (!(content instanceof Uint8Array) || !areLive(content)) return;
  throw new TypeError(
    "Cannot expect memory to hold what a view of it shows: that is the guest's memory as it is now. " +
      "Keep a copy from before, by vm.memory.read(…).",
  );
}

/** The rows of 16 bytes in which the two differ, with the differing bytes marked. */
function differingRows(
  address: number | bigint,
  expected: Uint8Array,
  received: Uint8Array,
): string {
  const differs = Array.from(expected, (byte, index) => byte !== received[index]);
  const first = differs.indexOf(true);
  const lines = [
    `${differs.filter(Boolean).length} of ${formatCount(expected.length, "byte")} differ, ` +
    `the first at ${formatAddress(addressAfter(address, first))}`,
  ];
  const rows = [];
  for (let start = 0; start < expected.length; start += PER_ROW) {
    if (differs.slice(start, start + PER_ROW).includes(true)) rows.push(start);
  }
  for (const start of rows.slice(0, MOST_ROWS)) {
    const end = start + PER_ROW;
    const place = formatAddress(addressAfter(address, start));
    const margin = `  ${" ".repeat(place.length)}  `;
    const marks = differs.slice(start, end).map((isDifferent) => isDifferent ? "^^" : "  ");
    lines.push(
      `  ${place}  expected ${hexBytes(expected.subarray(start, end))}`,
      `${margin}received ${hexBytes(received.subarray(start, end))}`,
      `${margin}         ${marks.join(" ")}`.trimEnd(),
    );
  }
  const rest = rows.length - MOST_ROWS;
  if (rest > 0) lines.push(`  … ${formatCount(rest, "row")} more`);
  return lines.join("\n");
}
