import { createHash } from "node:crypto";
import { cacheFolder, permitted } from "./cache_folder.ts";
import type { ImageInit } from "./image_init.ts";
import type { NasmRecord } from "./nasm.ts";

/** A file that decides what an image is, beside its own text. */
export interface Dependency {
  /** Where it is, or would be. */
  readonly path: string;
  /** The SHA-256 of its content, in hex; null where there is no such file, and NASM would take it if there were. */
  readonly sha256: string | null;
}

/** Whether a text reads the clock or the environment, so that it gives another image every time. */
export function readsSurroundings(text: string): boolean {
  return /__\??(?:UTC_)?(?:DATE|TIME|POSIX_TIME)|%!|%(?:el)?ifn?env/i.test(text);
}

/**
 * What an image depends on, or undefined where one made from these files must not be kept: one may not be read without
 * asking, or {@linkcode readsSurroundings}.
 *
 * @param files The paths of the files that NASM read.
 * @param folders Where it looked for them, in this order.
 */
export function hashDependencies(
  files: readonly string[],
  folders: readonly string[],
): Dependency[] | undefined {
  const dependencies: Dependency[] = [];
  for (const path of files) {
    const content = readQuietly(path);
    if (!(content instanceof Uint8Array)) return undefined;
    if (readsSurroundings(new TextDecoder().decode(content))) return undefined;
    dependencies.push({ path, sha256: sha256(content) });
  }
  for (const path of overridingPaths(files, folders)) {
    const content = readQuietly(path);
    if (content === undefined) return undefined;
    if (content === null) dependencies.push({ path, sha256: null });
  }
  return dependencies;
}

/** Where NASM may have looked for files before it found them: under their names in the other folders. */
function overridingPaths(files: readonly string[], folders: readonly string[]): Set<string> {
  const paths = files.flatMap((file) =>
    folders.filter((folder) => file.startsWith(`${folder}/`)).flatMap((folder) =>
      folders.map((other) => other + file.slice(folder.length))
    )
  );
  return new Set(paths).difference(new Set(files));
}

/** Whether every file still has the content it had, and none has come to stand before one of them. */
export function areCurrent(dependencies: readonly Dependency[]): boolean {
  return dependencies.every((dependency) => {
    const content = readQuietly(dependency.path);
    if (content === undefined) return false;
    return dependency.sha256 === (content === null ? null : sha256(content));
  });
}

/** Something that was made from a text and from files. */
export interface CacheEntry<Value> {
  /** What was made. */
  readonly value: Value;
  /** The files that it was made from: once one of them has changed, it does not count. */
  readonly dependencies: readonly Dependency[];
}

const MAXIMUM_IMAGES = 256;
/** Larger images are not kept: a few of them would hold more memory than they save time. */
const MAXIMUM_BYTES = 8 << 20;

/** Keeps the images that were used last, by the hash of what they are made from, for the life of the process. */
export class ImageCache {
  readonly #entries: Map<string, CacheEntry<ImageInit>> = new Map();

  /** What is kept under `key`, or undefined. */
  get(key: string): CacheEntry<ImageInit> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || !areCurrent(entry.dependencies)) return undefined;
    // A Map remembers the order of insertion: the first key is the one unused for longest.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Keeps it, and drops the one unused for longest where there are too many. */
  set(key: string, image: CacheEntry<ImageInit>): void {
    const bytes = image.value.segments.reduce((sum, segment) => sum + segment.bytes.length, 0);
    if (bytes > MAXIMUM_BYTES) return;
    this.#entries.delete(key);
    this.#entries.set(key, image);
    if (this.#entries.size > MAXIMUM_IMAGES) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
  }
}

const EXTENSION = ".image";
const TEMPORARY = ".new";
const MAXIMUM_FILES = 4096;
/** A temporary file of this age belongs to a process that died while it wrote. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/**
 * Keeps what NASM made in files, for other runs: `$XDG_CACHE_HOME/vmexit/images`. It works only where the permissions
 * for it are granted already; it asks for none. A damaged file counts as absent and is written again.
 */
export class DiskCache {
  #pruned = false;

  /** What is kept under `key`, or undefined. Never throws. */
  get(key: string): CacheEntry<NasmRecord> | undefined {
    const folder = imageFolder();
    if (folder === undefined) return undefined;
    try {
      const image = decode(Deno.readTextFileSync(`${folder}/${key}${EXTENSION}`));
      return image !== undefined && areCurrent(image.dependencies) ? image : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Keeps it where possible; never throws. A reader sees the whole of it or nothing, whenever this process is killed.
   */
  set(key: string, image: CacheEntry<NasmRecord>): void {
    const folder = imageFolder();
    if (folder === undefined || !permitted(folder, "write")) return;
    const temporary = `${folder}/${key}.${Deno.pid}.${crypto.randomUUID()}${TEMPORARY}`;
    try {
      Deno.mkdirSync(folder, { recursive: true });
      if (!this.#pruned) prune(folder);
      this.#pruned = true;
      Deno.writeTextFileSync(temporary, encode(image), { createNew: true });
      Deno.renameSync(temporary, `${folder}/${key}${EXTENSION}`);
    } catch {
      // A full or read-only disk costs the time to assemble again and nothing else.
      removeQuietly(temporary);
    }
  }
}

function imageFolder(): string | undefined {
  const cache = cacheFolder();
  if (cache === undefined) return undefined;
  const folder = `${cache}/images`;
  return permitted(folder, "read") ? folder : undefined;
}

/** The hash of the second line, then the image as JSON with its bytes in Base64. */
function encode(image: CacheEntry<NasmRecord>): string {
  const body = JSON.stringify(
    image,
    (_, value) => value instanceof Uint8Array ? { base64: value.toBase64() } : value,
  );
  return `${sha256(body)}\n${body}`;
}

function decode(content: string): CacheEntry<NasmRecord> | undefined {
  const end = content.indexOf("\n");
  const body = content.slice(end + 1);
  if (end < 0 || sha256(body) !== content.slice(0, end)) return undefined;
  return JSON.parse(
    body,
    (_, value) => typeof value?.base64 === "string" ? Uint8Array.fromBase64(value.base64) : value,
  );
}

const sha256 = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");

/** Removes what processes left that died, and the older half of the images where there are too many. */
function prune(folder: string): void {
  const images: { path: string; time: number }[] = [];
  for (const { name } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    const time = modificationTime(path);
    if (name.endsWith(EXTENSION)) images.push({ path, time });
    else if (name.endsWith(TEMPORARY) && Date.now() - time > ABANDONED_AFTER_MS) {
      removeQuietly(path);
    }
  }
  if (images.length <= MAXIMUM_FILES) return;
  images.sort((a, b) => a.time - b.time);
  for (const { path } of images.slice(0, images.length / 2)) removeQuietly(path);
}

function modificationTime(path: string): number {
  try {
    return Deno.statSync(path).mtime?.getTime() ?? 0;
  } catch {
    // Another process pruned it meanwhile.
    return Date.now();
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was never made, or another process was faster.
  }
}

/** A file's content: null where there is no such file, undefined where it cannot be read without asking. */
function readQuietly(path: string): Uint8Array | null | undefined {
  if (!permitted(path, "read")) return undefined;
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    // Unreadable: what was made from it is then not kept, and NASM says what is wrong.
    return error instanceof Deno.errors.NotFound ? null : undefined;
  }
}
