import { PAGE_SIZE } from "./mman.ts";
import type { Libc, PageRange } from "./libc.ts";

/** Says of each page of this process where it is (Documentation/admin-guide/mm/pagemap.rst). */
const PAGE_MAP = "/proc/self/pagemap";

/** A page has an entry of 64 bits; two of the upper word say that it is in memory, or swapped out. */
const ENTRY_SIZE = 8;
const UPPER_WORD = 1;
const PRESENT_OR_SWAPPED = 0xc000_0000;

/** How many entries are read at once. */
const MOST_ENTRIES = 64 * 1024;

/**
 * The pages of some memory of this process's own that it has, in order: the others were never touched, and are zeros.
 *
 * @param address Of its first byte, a multiple of the page size.
 * @param size In bytes.
 * @returns All of it where the kernel does not tell.
 */
export function touchedPages(
  libc: Pick<Libc, "open" | "pread" | "close">,
  address: bigint,
  size: number,
): PageRange[] {
  const fd = libc.open(PAGE_MAP, 0);
  if (fd < 0) return [{ start: 0, end: size }];
  const ranges: PageRange[] = [];
  const first = Number(address / BigInt(PAGE_SIZE));
  const pages = size / PAGE_SIZE;
  try {
    for (let done = 0; done < pages; done += MOST_ENTRIES) {
      const entries = new Uint32Array(2 * Math.min(MOST_ENTRIES, pages - done));
      const bytes = new Uint8Array(entries.buffer);
      if (libc.pread(fd, bytes, (first + done) * ENTRY_SIZE) !== bytes.length) {
        return [{ start: 0, end: size }];
      }
      for (let index = 0; index < entries.length; index += 2) {
        if ((entries[index + UPPER_WORD] & PRESENT_OR_SWAPPED) === 0) continue;
        addPage(ranges, (done + index / 2) * PAGE_SIZE);
      }
    }
  } finally {
    libc.close(fd);
  }
  return ranges;
}

/** Adds a page behind those that there are. */
function addPage(ranges: PageRange[], start: number): void {
  const last = ranges.at(-1);
  const end = start + PAGE_SIZE;
  if (last?.end === start) ranges[ranges.length - 1] = { start: last.start, end };
  else ranges.push({ start, end });
}
