import { areCurrent } from "./dependencies.ts";
import type { ImageParts } from "./image_parts.ts";
import type { Kept } from "./kept.ts";

const MAXIMUM_ENTRIES = 256;
/** Larger images are not kept: a few of them would hold more memory than they save time. */
const MAXIMUM_BYTES = 8 << 20;

/** Keeps the images that were used last, by the hash of what they are made from, for the life of the process. */
export class ImageCache {
  readonly #entries: Map<string, Kept<ImageParts>> = new Map();

  /** What is kept under `key`, or undefined. */
  get(key: string): Kept<ImageParts> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || !areCurrent(entry.dependencies)) return undefined;
    // A Map remembers the order of insertion: the first key is the one unused for longest.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Keeps it, and drops the one unused for longest where there are too many. */
  set(key: string, image: Kept<ImageParts>): void {
    const bytes = image.value.segments.reduce((sum, segment) => sum + segment.bytes.length, 0);
    if (bytes > MAXIMUM_BYTES) return;
    this.#entries.delete(key);
    this.#entries.set(key, image);
    if (this.#entries.size > MAXIMUM_ENTRIES) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
  }
}
