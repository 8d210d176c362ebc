import { hex } from "../x86/hex.ts";
import { checkAddress } from "./address.ts";
import type { ImageSegment } from "./image_init.ts";

/** `Image.bytes` of images with wider gaps would exhaust the host: their segments still serve. */
const MAXIMUM_FLAT_SIZE = 1 << 30;

/** The symbols of images by name, with the name of their image and, of the first that has one, without. */
export function symbolsOf(
  images: ReadonlyMap<string, { readonly symbols: Readonly<Record<string, bigint>> }>,
): Record<string, bigint> {
  const symbols: Record<string, bigint> = Object.create(null);
  for (const [image, other] of images) {
    for (const [name, address] of Object.entries(other.symbols)) {
      symbols[`${image}:${name}`] = address;
      symbols[name] ??= address;
    }
  }
  return symbols;
}

/** Where a segment lies when its image is loaded. */
export function loadAddressOf({ address, loadAddress = address }: ImageSegment): bigint {
  return loadAddress;
}

/** @throws {RangeError} When segments overlap, there is none with bytes, or an address is not one of 64 bits. */
export function checkSegments(segments: readonly ImageSegment[]): void {
  if (segments.every((segment) => segment.size === 0)) {
    throw new RangeError("Cannot make an image: it has no bytes; give it at least one instruction");
  }
  let end = 0n;
  let previous = "";
  for (const segment of segments) {
    if (segment.size === 0) continue;
    checkAddress(segment.address, "an image's segment address");
    const start = checkAddress(loadAddressOf(segment), "an image's segment address");
    const last = BigInt(segment.size - 1);
    checkAddress(segment.address + last, "an image's segment end");
    checkAddress(start + last, "an image's segment end");
    if (start < end) {
      throw new RangeError(
        `Cannot make an image: its segments at ${previous} and ${hex(start)} overlap`,
      );
    }
    end = start + last + 1n;
    previous = `${hex(start)} (${hex(segment.size)} bytes)`;
  }
}

/** For sorting. */
export const order = (a: bigint, b: bigint): number => a < b ? -1 : a > b ? 1 : 0;

/** The index of the last item whose key is at most `key`, or -1. The items are sorted by it. */
export function lastNotAfter<Item>(
  items: readonly Item[],
  key: bigint,
  keyOf: (item: Item) => bigint,
): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keyOf(items[middle]) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What segments put in memory from an origin on, gaps as zeros. @throws {RangeError} When it is more than 1 GiB. */
export function flattened(
  segments: readonly ImageSegment[],
  origin: bigint,
): Uint8Array<ArrayBuffer> {
  const filled = segments.filter((segment) => segment.bytes.length > 0)
    .map((segment) => ({ at: Number(loadAddressOf(segment) - origin), bytes: segment.bytes }));
  const end = Math.max(0, ...filled.map(({ at, bytes }) => at + bytes.length));
  if (end > MAXIMUM_FLAT_SIZE) {
    throw new RangeError(
      `Cannot give the image's bytes in one piece: it reaches from ${hex(origin)} to ${
        hex(origin + BigInt(end))
      }; take its segments`,
    );
  }
  const whole = new Uint8Array(end);
  for (const { at, bytes } of filled) whole.set(bytes, at);
  return whole;
}
