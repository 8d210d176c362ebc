import type { GuestView } from "./guest_view.ts";

const ADDRESS_BITS = 64;

/** A label that an address may have been meant to be, in a sentence: one bit away, or its low word; empty where none is. */
export function nearestLabel(view: GuestView, linear: bigint): string {
  const isLabel = (name: string | undefined): name is string =>
    name !== undefined && !/^[^ ]+\+0x/.test(name) && !name.startsWith("(");
  for (let bit = 0; bit < ADDRESS_BITS; bit++) {
    const address = linear ^ 1n << BigInt(bit);
    const name = view.name(address);
    if (!isLabel(name)) continue;
    return `. With bit ${bit} of the offset ${
      address >> BigInt(bit) & 1n ? "set" : "clear"
    } it would be ${name}`;
  }
  const low = view.name(linear & 0xffffn);
  return linear > 0xffffn && isLabel(low)
    ? `. Its low 16 bits alone would be ${low}: the upper ones are probably wrong`
    : "";
}
