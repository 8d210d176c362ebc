import { TranslatedArgument } from "../../../lib/kvm/remote/translated_argument.ts";
import { inAgent } from "../../../lib/kvm/remote/remote_machine.ts";
import { WINDOW } from "../../../lib/kvm/remote/window.ts";
import { assertEquals } from "@std/assert";

/** Where the argument lies in this process, and where the window does. */
const ARGUMENT = 0x7000_0000n;
const WINDOW_HERE = 0x10_0000n;
const MADE = 0x1234;

const translations = {
  addressOf: () => ARGUMENT,
  offsetOf: (address: bigint) =>
    address >= WINDOW_HERE && address < WINDOW_HERE + 0x1000n ? Number(address - WINDOW_HERE) : -1,
  numberOf: (fd: number) => fd - 1000,
  newDescriptor: (number: number) => number + 1000,
};
const references = {
  addresses: [0, 8, 16],
  descriptors: [24],
  newDescriptor: { offset: 28, unless: { offset: 32, flag: 2 } },
};

/** An argument with three addresses, a descriptor, room for a new one, and flags; and as the machine gets it. */
function translated(flags: number) {
  const bytes = new Uint8Array(40).fill(0xee);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, ARGUMENT + 32n, true);
  view.setBigUint64(8, WINDOW_HERE + 0x20n, true);
  view.setBigUint64(16, 0x5_0000n, true);
  view.setInt32(24, 1007, true);
  view.setUint32(32, flags, true);
  const argument = new TranslatedArgument(bytes, references as never, translations);
  const there = new DataView(bytes.slice().buffer);
  argument.there(there);
  return { bytes, view, argument, there };
}

Deno.test("addresses and descriptors of this process become the machine's; an address of neither stays", () => {
  const { there } = translated(0);
  assertEquals(
    [0, 8, 16].map((at) => there.getBigUint64(at, true)),
    [BigInt(inAgent(WINDOW.data + 32)), BigInt(inAgent(0x20)), 0x5_0000n],
  );
  assertEquals(there.getInt32(24, true), 7);
  assertEquals(there.getUint32(28, true), 0xeeee_eeee);
});

Deno.test("what the caller wrote is put back, all else is as the machine left it", () => {
  const { bytes, view, argument } = translated(2);
  const before = bytes.slice();
  bytes.fill(0x11);
  view.setUint32(32, 2, true);
  argument.back(true);
  assertEquals(bytes.subarray(0, 28), before.subarray(0, 28));
  assertEquals(bytes.subarray(28, 32), new Uint8Array(4).fill(0x11));
  assertEquals(bytes.subarray(36), new Uint8Array(4).fill(0x11));
});

Deno.test("a descriptor that the machine has made is numbered here, unless the call failed or made none", () => {
  for (
    const [flags, succeeded, expected] of [
      [0, true, MADE + 1000],
      [0, false, MADE],
      [2, true, MADE],
      [4, true, MADE + 1000],
    ] as const
  ) {
    const { view, argument } = translated(flags);
    view.setInt32(28, MADE, true);
    argument.back(succeeded);
    assertEquals(view.getInt32(28, true), expected, `${flags} ${succeeded}`);
  }
});
