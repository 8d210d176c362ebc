import { checkNames, checkOptions } from "../x86/defined_entries.ts";
import { checkAddress } from "./address.ts";
import { FLAT_OPTIONS, type FlatOptions, type ImageInit } from "./image_init.ts";

/** What an image is made of that is a flat binary. Throws as `Image.fromBytes` does. */
export function flatImage(bytes: Uint8Array, options: FlatOptions): ImageInit {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot make an image of ${typeof bytes}: give a Uint8Array, as Deno.readFileSync returns`,
    );
  }
  const given = options ?? {};
  checkOptions("make an image", given, FLAT_OPTIONS);
  const { origin, entry, bits = 16, symbols = {} } = given;
  checkNames("make an image with symbols", symbols);
  checkBits(bits);
  const address = checkAddress(origin, "an image's origin");
  return {
    segments: [{ address, bytes: new Uint8Array(bytes), size: bytes.length }],
    entry: entry === undefined ? undefined : checkAddress(entry, "an image's entry"),
    bits,
    labels: Object.fromEntries(
      Object.entries(symbols).map((
        [name, value],
      ) => [name, checkAddress(value, `the symbol ${name}`)]),
    ),
  };
}

function checkBits(bits: unknown): void {
  if (bits === 16 || bits === 32 || bits === 64) return;
  throw new RangeError(`Cannot make an image of ${bits} bits: code on x86 has 16, 32 or 64`);
}
