import type { Machine } from "../../machine/machine.ts";
import { contentBytes, type MemoryContent } from "../../machine/address_space.ts";
import { formatAddress, formatBytes } from "../format.ts";
import type { Verdict } from "../verdict.ts";

/** Compares all that the guest wrote to one port. */
export function matchPortOutput(machine: Machine, port: number, content: MemoryContent): Verdict {
  const expected = contentBytes(content);
  const received = machine.portOutput.bytes(port);
  const dropped = machine.portOutput.dropped(port);
  const matches = dropped === 0 && expected.length === received.length &&
    expected.every((byte, index) => byte === received[index]);
  return {
    call: `toHavePortOutput(${formatAddress(port)}, ${formatBytes(expected)})`,
    matches,
    comparisons: () => [{
      what: `output of port ${formatAddress(port)}`,
      expected: formatBytes(expected),
      received: formatBytes(received) + (dropped === 0 ? "" : ` and ${dropped} bytes more`),
      matches,
    }],
  };
}

/** Compares the text that the guest wrote to its serial line: all of it with a string, some of it with a regular expression. */
export function matchSerial(machine: Machine, expected: string | RegExp): Verdict {
  const received = machine.serial.text;
  const matches = typeof expected === "string" ? received === expected : expected.test(received);
  const shown = typeof expected === "string" ? JSON.stringify(expected) : String(expected);
  return {
    call: `toHaveSerial(${shown})`,
    matches,
    comparisons: () => [{
      what: "serial",
      expected: shown,
      received: JSON.stringify(received),
      matches,
    }],
  };
}
