import { lastMemoryWriter, writersText } from "./history.ts";
import { pageFaultFlags } from "../exceptions/exceptions.ts";
import { hex } from "../hex.ts";
import { PAGE_ENTRY_ADDRESS, type PageLevel, pagingFormats } from "../paging/page_levels.ts";
import type { PageWalk, WalkedEntry } from "../paging/page_walk.ts";
import { pageEntryFlags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";
import type { GuestView } from "./guest_view.ts";
import { littleEndian } from "./guest_view.ts";
import type { Finding } from "./incident.ts";
import { cause } from "./raised.ts";

const TABLE_SIZE = 4096;
const BYTE_BITS = 8;
/** Bits of an entry that lead an address elsewhere or forbid it: the others change nothing of a walk. */
const DECIDING_BITS = /^(p|rw|us|ps|xd)$/;
/** How far off its place a frame number is looked for in an entry that was shifted by mistake. */
const SHIFTS = 16;
/** Bits that the CPU sets. */
const ACCESSED_AND_DIRTY = 0x60n;
/** Pages on each side of a table in which another is looked for. */
const PAGES_AROUND = 8;
/** Instructions that are shown behind one that wrote an entry. */
const SHOWN_BEHIND = 3;
/** An identity table is recognized by so many entries in a row. */
const IDENTITY_ENTRIES = 4;

/** The name of an entry with its index: `PDE[0]`. */
function entryName(walk: PageWalk, { level, gpa }: WalkedEntry): string {
  const { entrySize } = pagingFormats[walk.paging];
  const index = (gpa % TABLE_SIZE) / entrySize;
  // PAE's root table has four entries, and lies anywhere.
  return `${level}[${level === "PDPTE" && walk.paging === "PAE" ? index % 4 : index}]`;
}

function hexEntry(walk: PageWalk, entry: bigint): string {
  return hex(entry, pagingFormats[walk.paging].entrySize * 2);
}

/** A walk in a sentence: `CR3 0x8000 → PDE[0] at 0x8000 = 0x00480003 → …`. */
export function walkSentence(view: GuestView, walk: PageWalk): string {
  const steps = walk.levels.map((entry) =>
    `${entryName(walk, entry)} at ${view.place(BigInt(entry.gpa))} = ${hexEntry(walk, entry.entry)}`
  );
  const { result } = walk;
  const end = "physical" in result
    ? `physical ${hex(result.physical)}`
    : result.fault === "not-present"
    ? "not present"
    : result.fault === "reserved-bit"
    ? "a reserved bit is set"
    : result.fault === "outside-memory"
    ? `there is no memory where the ${result.level} would be`
    : result.fault === "non-canonical"
    ? "not canonical"
    : "too wide";
  return [`linear ${hex(walk.linear)}: CR3 ${hex(walk.cr3)}`, ...steps, end].join(" → ");
}

/** What is behind a #PF: its walk, the table that is empty, the value that an entry probably should have. */
export function pageCauses(view: GuestView, walk: PageWalk, errorCode: number): Finding[] {
  const last = walk.levels.at(-1);
  const empty = last === undefined ? undefined : emptyTable(view, walk, last);
  const findings = [
    cause(walkSentence(view, walk) + (empty ?? ""), {
      walk,
      ...last === undefined ? {} : { linear: BigInt(last.gpa) },
    }),
  ];
  const unwritten = last === undefined || last.entry !== 0n
    ? undefined
    : writerOf(view, walk, last);
  if (unwritten !== undefined) findings.push(unwritten);
  const beside = last === undefined || last.entry !== 0n
    ? undefined
    : presentBeside(view, walk, last);
  if (beside !== undefined) findings.push(beside);
  findings.push(...ignoredSize(view, walk));
  const reserved = reservedBit(view, walk);
  if (reserved !== undefined) findings.push(reserved);
  const mended = reserved?.text.includes(" needs ")
    ? undefined
    : mendedEntry(view, walk, errorCode);
  if (mended !== undefined) findings.push(mended);
  return findings;
}

/** Who wrote an entry that is 0, as far as the steps before tell; tables lie where they are written, mostly. */
function writerOf(view: GuestView, walk: PageWalk, last: WalkedEntry): Finding | undefined {
  const { steps } = view.incident;
  const index = lastMemoryWriter(view, BigInt(last.gpa), pagingFormats[walk.paging].entrySize);
  if (index === undefined) return undefined;
  const { text, linear } = steps[index];
  return cause(
    `${entryName(walk, last)} at ${hex(last.gpa)} was last written by \`${text}\` at ${
      view.place(linear)
    }`,
    { linear },
  );
}

/** The last entry before one that is 0 which is not: who wrote it stopped too early. */
function presentBeside(view: GuestView, walk: PageWalk, last: WalkedEntry): Finding | undefined {
  const { entrySize } = pagingFormats[walk.paging];
  const table = last.gpa - last.gpa % TABLE_SIZE;
  const bytes = view.readPhysical(table, TABLE_SIZE);
  if (bytes === undefined) return undefined;
  for (let gpa = last.gpa - entrySize; gpa >= table; gpa -= entrySize) {
    const entry = littleEndian(bytes.subarray(gpa - table, gpa - table + entrySize));
    if (entry === 0n) continue;
    const written = writersText(view, BigInt(gpa), entrySize) +
      behindWriter(view, BigInt(gpa), entrySize);
    const beside = entryName(walk, { ...last, gpa });
    return cause(
      `The last entry before it that is not 0 is ${beside} = ${hexEntry(walk, entry)}${written}`,
      {
        linear: BigInt(gpa),
      },
    );
  }
  return undefined;
}

/** What was executed behind the last write of an entry, which may have been the last round of a loop: a clause. */
function behindWriter(view: GuestView, linear: bigint, size: number): string {
  const index = lastMemoryWriter(view, linear, size);
  if (index === undefined) return "";
  const behind = view.incident.steps.slice(index + 1, index + 1 + SHOWN_BEHIND)
    .map(({ text, linear }) => `\`${text}\` at ${view.place(linear)}`);
  return behind.length === 0 ? "" : `, and behind it came ${behind.join(", ")}`;
}

function emptyTable(view: GuestView, walk: PageWalk, last: WalkedEntry): string | undefined {
  if (last.entry !== 0n) return undefined;
  const table = last.gpa - last.gpa % TABLE_SIZE;
  const bytes = view.readPhysical(table, TABLE_SIZE);
  if (bytes === undefined || bytes.some((byte) => byte !== 0)) return undefined;
  const name = pagingFormats[walk.paging].levels.find(({ entry }) => entry === last.level)!.table;
  return `; all of that ${name} at ${hex(table)} is zeros`;
}

/** An entry that was meant to map 4 MiB, where CR4 does not allow that (Intel SDM Vol. 3A, 4.3). */
function ignoredSize(view: GuestView, walk: PageWalk): Finding[] {
  const [entry] = walk.levels;
  if (walk.paging !== "32-bit" || view.cr4("pse") || entry === undefined) return [];
  if (!getFlag(pageEntryFlags, "ps", entry.entry)) return [];
  return [cause(
    `${
      entryName(walk, entry)
    } has PS (bit 7) set, which is ignored while CR4.PSE (bit 4) = 0: it maps no 4 MiB, but leads to a page table${
      writersText(view, BigInt(entry.gpa), pagingFormats[walk.paging].entrySize)
    }`,
    { linear: BigInt(entry.gpa), walk },
  )];
}

/** Which reserved bit an entry has set, and what would allow it. */
function reservedBit(view: GuestView, walk: PageWalk): Finding | undefined {
  const { result } = walk;
  const last = walk.levels.at(-1);
  if ("physical" in result || result.fault !== "reserved-bit" || last === undefined) {
    return undefined;
  }
  const { entry } = last;
  const finding = (text: string) => cause(text, { linear: BigInt(last.gpa), walk });
  const name = entryName(walk, last);
  const has = (flag: string) => getFlag(pageEntryFlags, flag, entry) === true;
  if (has("xd") && !view.efer("nxe")) {
    const other = walk.paging === "PAE" && last.level === "PDPTE"
      ? ""
      : ": bit 63 needs EFER.NXE = 1";
    return finding(`${name} has XD (bit 63) set, which is reserved while EFER.NXE = 0${other}`);
  }
  if (has("ps") && (last.level === "PML4E" || last.level === "PML5E" || walk.paging === "PAE")) {
    return finding(`${name} has PS (bit 7) set, which is reserved there: it maps no page`);
  }
  const bits = singleBits(entry).filter((bit) => {
    const changed = rewalk(view, walk, last.gpa, entry & ~(1n << BigInt(bit)));
    return "physical" in changed.result || changed.levels.length > walk.levels.length ||
      changed.result.fault !== "reserved-bit";
  });
  const address = walk.paging === "PAE" && !view.efer("lma") && last.level === "PDPTE"
    ? " (in PAE paging a PDPTE has neither R/W nor U/S: 4-level tables need EFER.LME before CR0.PG)"
    : "";
  return finding(
    `${name} = ${hexEntry(walk, entry)} has ${
      bits.length === 0 ? "several reserved bits set" : `the reserved bit ${bits.join(", ")} set`
    }${address}`,
  );
}

function singleBits(value: bigint): number[] {
  const bits: number[] = [];
  for (let bit = 0; value >> BigInt(bit) !== 0n; bit++) {
    if (value >> BigInt(bit) & 1n) bits.push(bit);
  }
  return bits;
}

/** The walk as it would be with another value in one entry. */
function rewalk(view: GuestView, walk: PageWalk, gpa: number, value: bigint): PageWalk {
  const { entrySize } = pagingFormats[walk.paging];
  const first = gpa - gpa % BYTE_BITS;
  const shift = BigInt((gpa - first) * BYTE_BITS);
  const mask = (1n << BigInt(entrySize * BYTE_BITS)) - 1n;
  return view.walk(walk.linear, view.special, (at) => {
    const quadword = view.quadword(at);
    if (at !== first) return quadword;
    return ((quadword ?? 0n) & ~(mask << shift)) | (value & mask) << shift;
  })!;
}

/** A value that an entry may have been meant to have. */
interface Candidate {
  readonly entry: WalkedEntry;
  readonly value: bigint;
  readonly why: string;
  readonly score: number;
}

/**
 * The entry whose value is probably wrong, with the value that it probably should have: one bit away, or with its frame
 * shifted into its place, or leading to a table that maps the memory around to itself.
 *
 * @param errorCode Of the access that must succeed then: a write, a fetch, CPL 3.
 */
export function mendedEntry(
  view: GuestView,
  walk: PageWalk,
  errorCode = 0,
): Finding | undefined {
  const candidates = walk.levels.flatMap((entry) => [
    ...oneBitAway(walk, entry),
    ...shifted(walk, entry),
    ...neighbours(view, walk, entry),
    ...tablesNear(view, walk, entry),
  ]);
  const delta = usualDistance(view, walk);
  const [best] = candidates
    .flatMap((candidate) => rated(view, walk, candidate, errorCode, delta))
    .sort((a, b) => b.score - a.score);
  if (best === undefined) return undefined;
  const { entry, why } = best;
  const value = best.value & ~ACCESSED_AND_DIRTY;
  return cause(
    `${entryName(walk, entry)} at ${view.place(BigInt(entry.gpa))} should probably be ${
      hexEntry(walk, value)
    } instead of ${hexEntry(walk, entry.entry & ~ACCESSED_AND_DIRTY)}: ${why}${
      writersText(view, BigInt(entry.gpa), pagingFormats[walk.paging].entrySize)
    }`,
    { linear: BigInt(entry.gpa), walk },
  );
}

/** How far physical addresses lie from linear ones around a walk: 0 where memory is mapped to itself. */
function usualDistance(view: GuestView, walk: PageWalk): bigint {
  for (const distance of [1n, -1n, 2n, -2n, 512n, -512n]) {
    const near = BigInt.asUintN(
      pagingFormats[walk.paging].linearAddressBits === 32 ? 32 : 64,
      walk.linear + distance * BigInt(TABLE_SIZE),
    );
    const other = view.walk(near);
    const sharesEntry = other?.levels.at(-1)?.gpa === walk.levels.at(-1)?.gpa;
    if (other === undefined || sharesEntry || !("physical" in other.result)) continue;
    return BigInt(other.result.physical) - near;
  }
  return 0n;
}

function rated(
  view: GuestView,
  walk: PageWalk,
  candidate: Candidate,
  errorCode: number,
  delta: bigint,
): Candidate[] {
  const { result } = rewalk(view, walk, candidate.entry.gpa, candidate.value);
  if (!("physical" in result)) return [];
  const asked = (flag: string) => getFlag(pageFaultFlags, flag, BigInt(errorCode >>> 0)) === true;
  if ((asked("wr") && !result.writable) || (asked("us") && !result.user)) return [];
  if (asked("id") && !result.executable) return [];
  const distance = BigInt(result.physical) - walk.linear;
  if (distance !== delta && distance !== 0n) return [];
  const code = view.readPhysical(result.physical, 1);
  if (code === undefined) return [];
  return [{ ...candidate, score: candidate.score + (distance === delta ? 1 : 0) }];
}

const BIT_SCORE = 3;
const SHIFT_SCORE = 4;
const NEIGHBOUR_SCORE = 5;
const NEAR_SCORE = 2;

function* oneBitAway(walk: PageWalk, entry: WalkedEntry): Generator<Candidate> {
  if (entry.entry === 0n) return;
  const { entrySize } = pagingFormats[walk.paging];
  for (let bit = 0; bit < entrySize * BYTE_BITS; bit++) {
    const mask = 1n << BigInt(bit);
    const flag = Object.entries(pageEntryFlags).find(([, place]) => place.bit === bit)?.[0];
    if (flag !== undefined && !DECIDING_BITS.test(flag)) continue;
    const value = entry.entry ^ mask;
    const name = flag === undefined ? `bit ${bit}` : `bit ${bit} (${flag.toUpperCase()})`;
    const why = `${name} is ${value & mask ? "clear" : "set"}`;
    yield { entry, value, why, score: BIT_SCORE };
  }
}

function* shifted(walk: PageWalk, entry: WalkedEntry): Generator<Candidate> {
  const { entrySize } = pagingFormats[walk.paging];
  const flags = entry.entry & ~PAGE_ENTRY_ADDRESS;
  const frame = entry.entry & PAGE_ENTRY_ADDRESS;
  if (frame === 0n) return;
  for (let shift = 1; shift <= SHIFTS; shift++) {
    for (
      const [moved, way] of [[frame >> BigInt(shift), "right"], [
        frame << BigInt(shift),
        "left",
      ]] as const
    ) {
      const value = BigInt.asUintN(entrySize * BYTE_BITS, moved & PAGE_ENTRY_ADDRESS | flags);
      const other = way === "right" ? "left" : "right";
      yield {
        entry,
        value,
        why: `its frame number lies ${shift} bits too far to the ${other}`,
        score: SHIFT_SCORE,
      };
    }
  }
}

/** What the entries beside it let expect: the next frame with the same flags. */
function* neighbours(view: GuestView, walk: PageWalk, entry: WalkedEntry): Generator<Candidate> {
  const { entrySize } = pagingFormats[walk.paging];
  const table = entry.gpa - entry.gpa % TABLE_SIZE;
  for (const [near, far] of [[-1, 1], [-1, -2], [1, 2]]) {
    const [first, second] = [near, far].map((step) => {
      const gpa = entry.gpa + step * entrySize;
      if (gpa < table || gpa >= table + TABLE_SIZE) return undefined;
      const bytes = view.readPhysical(gpa, entrySize);
      return bytes === undefined ? undefined : littleEndian(bytes) & ~ACCESSED_AND_DIRTY;
    });
    if (first === undefined || second === undefined || !(first & 1n) || !(second & 1n)) continue;
    const stride = (second - first) / BigInt(far - near);
    const value = first - BigInt(near) * stride;
    if (
      stride === 0n || stride & 0xfffn || value < 0n ||
      value === (entry.entry & ~ACCESSED_AND_DIRTY)
    ) {
      continue;
    }
    yield { entry, value, why: "as the entries beside it go", score: NEIGHBOUR_SCORE };
  }
}

/** Tables around whose entries map memory to itself, to which an entry may have been meant to lead. */
function* tablesNear(view: GuestView, walk: PageWalk, entry: WalkedEntry): Generator<Candidate> {
  const format = pagingFormats[walk.paging];
  const below = format.levels[format.levels.findIndex((each) => each.entry === entry.level) + 1];
  if (below === undefined) return;
  const table = entry.gpa - entry.gpa % TABLE_SIZE;
  const flags = entry.entry & 0xfffn || 0x3n;
  for (let distance = -PAGES_AROUND; distance <= PAGES_AROUND; distance++) {
    const page = table + distance * TABLE_SIZE;
    if (page < 0 || page === table) continue;
    const count = identityEntries(view, page, below, format.entrySize, walk.linear);
    if (count < 1) continue;
    yield {
      entry,
      value: BigInt(page) | flags | 1n,
      why: count < IDENTITY_ENTRIES
        ? `at ${hex(page)} lies a table that maps the address to itself`
        : `a table with ${count} entries that map memory to itself lies at ${hex(page)}`,
      score: NEAR_SCORE + (count >= IDENTITY_ENTRIES ? 4 : 0),
    };
  }
}

/** How many entries of a table map pages to themselves; 0 where the one for `linear` does not. */
function identityEntries(
  view: GuestView,
  page: number,
  level: PageLevel,
  entrySize: 4 | 8,
  linear: bigint,
): number {
  const bytes = view.readPhysical(page, TABLE_SIZE);
  if (bytes === undefined) return 0;
  const size = 1n << BigInt(level.shift);
  const first = linear - linear % (size * BigInt(TABLE_SIZE / entrySize));
  let count = 0;
  let hasOwn = false;
  for (let index = 0; index < TABLE_SIZE / entrySize; index++) {
    const value = littleEndian(bytes.subarray(index * entrySize, (index + 1) * entrySize));
    const maps = (value & 1n) === 1n && (level.shift === 12 || (value & 0x80n) !== 0n);
    const at = first + BigInt(index) * size;
    if (!maps || (value & PAGE_ENTRY_ADDRESS & ~(size - 1n)) !== at) continue;
    count++;
    hasOwn ||= at <= linear && linear < at + size;
  }
  return hasOwn ? count : 0;
}

/** Why nothing can be read at a linear address: its walk, and the entry that is probably wrong. */
export function whyUnreadable(view: GuestView, linear: bigint): Finding[] {
  const walk = view.walk(linear);
  if (walk === undefined) return [];
  const mended = mendedEntry(view, walk);
  const end = "physical" in walk.result ? ", where there is no memory" : "";
  return [
    cause(`${walkSentence(view, walk)}${end}`, { walk, linear }),
    ...mended === undefined ? [] : [mended],
  ];
}

/** What page tables make of the address of code that does not do what it should: that it leads elsewhere than meant. */
export function misledMapping(view: GuestView, linear: bigint): Finding[] {
  const walk = view.walk(linear);
  if (walk === undefined || !("physical" in walk.result)) return [];
  const distance = BigInt(walk.result.physical) - linear;
  if (distance === 0n || distance === usualDistance(view, walk)) return [];
  const mended = mendedEntry(view, walk);
  if (mended === undefined) return [];
  return [cause(walkSentence(view, walk), { walk, linear }), mended];
}
