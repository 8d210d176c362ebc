import type { BootMemory } from "./memory_map.ts";

/** The section headers of an ELF kernel, for protocols that hand them on. */
export interface KernelSections {
  /** All of them, one after the other, as the file has them. */
  readonly headers: Uint8Array<ArrayBuffer>;
  /** How many there are. */
  readonly count: number;
  /** The bytes of one. */
  readonly entrySize: number;
  /** The index of that with their names. */
  readonly namesIndex: number;
  /** Sections that no segment loads: the symbol table, and strings. */
  readonly unloaded: readonly {
    /** Its content. */
    readonly bytes: Uint8Array<ArrayBuffer>;
    /** Where its header has its address, in `headers`. */
    readonly addressAt: number;
    /** How wide that is. */
    readonly addressSize: 4 | 8;
  }[];
}

/** Puts the sections that no segment loads into memory. @returns The headers, with their addresses. */
export function placeSections(
  { headers, unloaded }: KernelSections,
  memory: BootMemory,
): Uint8Array<ArrayBuffer> {
  const placed = headers.slice();
  const view = new DataView(placed.buffer);
  for (const { bytes, addressAt, addressSize } of unloaded) {
    const address = memory.putFile("kernel's symbols", bytes);
    if (addressSize === 4) view.setUint32(addressAt, address, true);
    else view.setBigUint64(addressAt, BigInt(address), true);
  }
  return placed;
}
