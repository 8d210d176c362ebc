import {
  type AddressSpace,
  contentBytes,
  type MemoryContent,
} from "../../machine/address_space.ts";
import { formatAddress, formatBytes } from "../format.ts";
import type { Verdict } from "../verdict.ts";

const MOST_LISTED = 64;
const PER_LINE = 16;

/** Compares memory with bytes, a list of byte values, or text. */
export function matchMemory(
  space: AddressSpace,
  matcher: "toHaveMemory" | "toHaveLinearMemory",
  address: number,
  content: MemoryContent,
): Verdict {
  const expected = contentBytes(content);
  const received = space.read(address, expected.length);
  const first = expected.findIndex((byte, index) => byte !== received[index]);
  const kind = matcher === "toHaveMemory" ? "physical" : "linear";
  return {
    call: `${matcher}(${formatAddress(address)}, ${formatBytes(expected)})`,
    matches: first === -1,
    comparisons: () => [{
      what: `${kind} ${formatAddress(address)}`,
      expected: formatBytes(expected),
      received: formatBytes(received),
      matches: first === -1,
    }],
    details: first === -1 ? undefined : () => differenceText(address, expected, received, first),
  };
}

/** Both sides in rows of 16 bytes, from the row of the first difference on, with the differing bytes marked. */
function differenceText(
  address: number,
  expected: Uint8Array,
  received: Uint8Array,
  first: number,
): string {
  const differing = expected.filter((byte, index) => byte !== received[index]).length;
  const start = first - first % PER_LINE;
  const lines = [
    `  first difference at ${
      formatAddress(address + first)
    } (byte ${first}); ${differing} of ${expected.length} bytes differ`,
  ];
  for (let row = start; row < Math.min(expected.length, start + MOST_LISTED); row += PER_LINE) {
    const end = Math.min(row + PER_LINE, expected.length);
    const place = formatAddress(address + row);
    const marks = Array.from(
      expected.subarray(row, end),
      (byte, index) => byte === received[row + index] ? "  " : "^^",
    ).join(" ");
    lines.push(
      `  ${place}  expected ${hexRow(expected.subarray(row, end))}`,
      `  ${" ".repeat(place.length)}  received ${hexRow(received.subarray(row, end))}`,
    );
    if (marks.trim() !== "") {
      lines.push(`  ${" ".repeat(place.length)}           ${marks.trimEnd()}`);
    }
  }
  return lines.join("\n");
}

function hexRow(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
