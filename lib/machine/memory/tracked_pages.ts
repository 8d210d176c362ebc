import type { PageRange, Pages } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { processCalls } from "../../ffi/process_calls.ts";

/** The content of pages that are not all zeros, by their numbers. What is in it stays as it is. */
export type PageContents = ReadonlyMap<number, Uint8Array<ArrayBuffer>>;

const ZEROS = new Uint8Array(PAGE_SIZE);

/**
 * Memory of a machine that knows which of its pages were written: by this process, which says so (see
 * {@linkcode Pages.wrote}), and by the guest, as the kernel tells. A part of it passes on what it is told.
 */
export class TrackedPages implements Pages {
  readonly #pages: Pages;
  /** Where what was handed out lies, to be written to at any time. */
  readonly #views: PageRange[] = [];
  /** The pages that were written since they were as in {@linkcode TrackedPages.contents}. */
  readonly #written: PageList;
  #contents: PageContents | undefined;
  /** Hears of what this process writes. */
  observer: ((start: number, bytes: Uint8Array) => void) | undefined;
  /** Called before any of it is handed out. */
  beforeView: () => void = () => {};

  /** Takes ownership of the memory. Nothing is noted before the first {@linkcode TrackedPages.save}. */
  constructor(pages: Pages) {
    this.#pages = pages;
    this.#written = new PageList(pages.bytes.length / PAGE_SIZE);
  }

  /** See {@linkcode Pages.bytes}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#pages.bytes;
  }

  /** See {@linkcode Pages.address}. */
  get address(): bigint {
    return this.#pages.address;
  }

  /** See {@linkcode Pages.wrote}. */
  wrote(start: number, length: number): void {
    this.#pages.wrote(start, length);
    this.observer?.(start, this.#pages.bytes.subarray(start, start + length));
    if (this.#contents === undefined || length === 0) return;
    const last = Math.floor((start + length - 1) / PAGE_SIZE);
    for (let page = Math.floor(start / PAGE_SIZE); page <= last; page++) this.#written.add(page);
  }

  /** See {@linkcode Pages.view}. */
  view(start: number, length: number): Uint8Array<ArrayBuffer> {
    this.beforeView();
    const first = Math.floor(start / PAGE_SIZE) * PAGE_SIZE;
    const end = Math.ceil((start + length) / PAGE_SIZE) * PAGE_SIZE;
    if (!this.#views.some((view) => view.start <= first && end <= view.end)) {
      this.#views.push({ start: first, end });
    }
    return this.#pages.view(start, length);
  }

  /** Whether somebody holds a part of it. */
  get hasViews(): boolean {
    return this.#views.length > 0;
  }

  /** See {@linkcode Pages.touched}. */
  touched(): readonly PageRange[] {
    return this.#pages.touched();
  }

  /** Notes that the guest has written to a page. */
  guestWrote(page: number): void {
    if (this.#contents !== undefined) this.#written.add(page);
  }

  /** What it holds now. Only pages are copied that were written since that was asked last. */
  save(): PageContents {
    const before = this.#contents;
    const contents = new Map(before);
    for (const page of before === undefined ? this.#touchedPages() : this.#changed()) {
      const bytes = this.#page(page);
      if (equal(bytes, ZEROS)) contents.delete(page);
      else if (before?.has(page) !== true || !equal(bytes, before.get(page)!)) {
        contents.set(page, bytes.slice());
      }
    }
    this.#written.clear();
    return this.#contents = contents;
  }

  /**
   * Makes it hold what it held then. Only pages are written that may be otherwise.
   *
   * @param contents Undefined for memory that was not there: it held zeros.
   * @param isNoted Whether the guest's writes are told from now on: else nothing is known of the pages later.
   * @returns How many pages were written.
   */
  restore(contents: PageContents = new Map(), isNoted = true): number {
    const before = this.#contents;
    if (before === undefined) {
      for (const page of this.#touchedPages()) this.#written.add(page);
      for (const page of contents.keys()) this.#written.add(page);
    } else if (before !== contents) {
      for (const [page, bytes] of before) {
        if (contents.get(page) !== bytes) this.#written.add(page);
      }
      for (const page of contents.keys()) if (!before.has(page)) this.#written.add(page);
    }
    if (this.hasViews) {
      for (const page of this.#viewed()) {
        if (!equal(this.#page(page), contents.get(page) ?? ZEROS)) this.#written.add(page);
      }
    }
    const written = this.#written;
    const { bytes } = this.#pages;
    for (let index = 0; index < written.count;) {
      const page = written.at(index++);
      const start = page * PAGE_SIZE;
      const saved = contents.get(page);
      let end = start + PAGE_SIZE;
      if (saved !== undefined) bytes.set(saved, start);
      else {
        // Pages of zeros come in rows.
        for (let next = page + 1; index < written.count; next++, index++, end += PAGE_SIZE) {
          if (written.at(index) !== next || contents.has(next)) break;
        }
        bytes.fill(0, start, end);
      }
      this.#pages.wrote(start, end - start);
    }
    const { count } = written;
    written.clear();
    this.#contents = isNoted ? contents : undefined;
    return count;
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#pages[Symbol.dispose]();
    this.#written.clear();
    this.#contents = undefined;
  }

  #page(page: number): Uint8Array<ArrayBuffer> {
    return this.#pages.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }

  #touchedPages(): Iterable<number> {
    return pagesOf(this.#pages.touched());
  }

  *#changed(): Generator<number> {
    for (let index = 0; index < this.#written.count; index++) yield this.#written.at(index);
    for (const page of this.#viewed()) if (!this.#written.has(page)) yield page;
  }

  /** The pages of which somebody holds a view. */
  #viewed(): Iterable<number> {
    return pagesOf(this.#views);
  }
}

/** Numbers of pages, each once, in the order in which they came. It allocates nothing once it has been as long. */
class PageList {
  /** How many there are. */
  count = 0;
  readonly #pageCount: number;
  readonly #numbers: number[] = [];
  #isIn: Uint8Array | undefined;

  /** None of the pages of a memory. */
  constructor(pageCount: number) {
    this.#pageCount = pageCount;
  }

  at(index: number): number {
    return this.#numbers[index];
  }

  has(page: number): boolean {
    return this.#isIn !== undefined && this.#isIn[page] !== 0;
  }

  add(page: number): void {
    const isIn = this.#isIn ??= new Uint8Array(this.#pageCount);
    if (isIn[page] !== 0) return;
    isIn[page] = 1;
    this.#numbers[this.count++] = page;
  }

  clear(): void {
    for (let index = 0; index < this.count; index++) this.#isIn![this.#numbers[index]] = 0;
    this.count = 0;
  }
}

function* pagesOf(ranges: readonly PageRange[]): Generator<number> {
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += PAGE_SIZE) yield at / PAGE_SIZE;
  }
}

function equal(one: Uint8Array<ArrayBuffer>, other: Uint8Array<ArrayBuffer>): boolean {
  return processCalls().equal(one, other);
}
