import type { DeviceMemory } from "./device.ts";

/** How much is copied at once: a length of the guest's becomes no allocation of the host's before memory is there. */
const PIECE = 1 << 16;

/**
 * A copy of guest memory, as a bus master reads it.
 *
 * @param length As the guest says it: up to 4 GiB.
 * @returns Undefined where a byte of it has no memory.
 */
export function dmaRead(
  memory: DeviceMemory,
  gpa: number | bigint,
  length: number,
): Uint8Array<ArrayBuffer> | undefined {
  const first = Number(gpa);
  if (length <= PIECE) return attempt(first, length, () => memory.read(first, length));
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let done = 0; done < length; done += PIECE) {
    const size = Math.min(PIECE, length - done);
    const piece = attempt(first + done, size, () => memory.read(first + done, size));
    if (piece === undefined) return undefined;
    pieces.push(piece);
  }
  const bytes = new Uint8Array(length);
  pieces.forEach((piece, index) => bytes.set(piece, index * PIECE));
  return bytes;
}

/**
 * Writes to guest memory, as a bus master does.
 *
 * @returns Whether memory was there for all of it; where it was not, none is written.
 */
export function dmaWrite(
  memory: DeviceMemory,
  gpa: number | bigint,
  bytes: Uint8Array,
): boolean {
  const first = Number(gpa);
  return attempt(first, bytes.length, () => (memory.write(first, bytes), true)) ?? false;
}

/** What `access` returns, or undefined where there is no memory. */
function attempt<Result>(first: number, length: number, access: () => Result): Result | undefined {
  if (!Number.isSafeInteger(first + length)) return undefined;
  try {
    return access();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
