import { areCurrent, type Dependency } from "./dependencies.ts";
import type { ImageParts } from "./image_parts.ts";

/** An assembled image as the caches keep it. */
export interface CachedImage {
  /** What it is made of. */
  readonly parts: ImageParts;
  /** The files that it was made from: while one of them has changed, the entry does not count. */
  readonly dependencies: readonly Dependency[];
}

/** A place where assembled images are kept, by the hash of all that they are made from. */
export interface ImageCache {
  /** Whether another process may find what this one keeps. */
  readonly outlivesProcess: boolean;
  /** What is kept under `key`, or undefined. Never throws. */
  get(key: string): CachedImage | undefined;
  /** Keeps it where possible. Never throws. */
  set(key: string, image: CachedImage): void;
}

const MAXIMUM_ENTRIES = 256;
/** Larger images are not kept: a few of them would hold more memory than they save time. */
const MAXIMUM_BYTES = 8 << 20;

/** Keeps the images that were used last, for the life of the process. */
export class MemoryImageCache implements ImageCache {
  /** It ends with the process. */
  readonly outlivesProcess = false;
  readonly #entries: Map<string, CachedImage> = new Map();

  /** What is kept under `key`, or undefined. */
  get(key: string): CachedImage | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || !areCurrent(entry.dependencies)) return undefined;
    // A Map remembers the order of insertion: the first key is the one unused for longest.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Keeps it, and drops the one unused for longest where there are too many. */
  set(key: string, image: CachedImage): void {
    const bytes = image.parts.segments.reduce((sum, segment) => sum + segment.bytes.length, 0);
    if (bytes > MAXIMUM_BYTES) return;
    this.#entries.delete(key);
    this.#entries.set(key, image);
    if (this.#entries.size > MAXIMUM_ENTRIES) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
  }
}
