import { createHash } from "node:crypto";
import { cacheFolder, permitted } from "./cache_folder.ts";
import { areCurrent } from "./dependencies.ts";
import type { Kept } from "./kept.ts";
import type { NasmRecord } from "./nasm_record.ts";

const EXTENSION = ".image";
const TEMPORARY = ".new";
const MAXIMUM_ENTRIES = 4096;
/** A temporary file of this age belongs to a process that died while it wrote. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/**
 * Keeps what NASM made in files, for other runs: `$XDG_CACHE_HOME/vmexit/images`. It works only where the permissions for it
 * are granted already; it asks for none. A damaged file counts as absent and is written again.
 */
export class DiskCache {
  #pruned = false;

  /** What is kept under `key`, or undefined. Never throws. */
  get(key: string): Kept<NasmRecord> | undefined {
    const folder = imageFolder();
    if (folder === undefined) return undefined;
    try {
      const image = decode(Deno.readTextFileSync(`${folder}/${key}${EXTENSION}`));
      return image !== undefined && areCurrent(image.dependencies) ? image : undefined;
    } catch {
      return undefined;
    }
  }

  /** Keeps it where possible; never throws. A reader sees the whole of it or nothing, whenever this process is killed. */
  set(key: string, image: Kept<NasmRecord>): void {
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
function encode(image: Kept<NasmRecord>): string {
  const body = JSON.stringify(
    image,
    (_, value) => value instanceof Uint8Array ? { base64: value.toBase64() } : value,
  );
  return `${sha256(body)}\n${body}`;
}

function decode(content: string): Kept<NasmRecord> | undefined {
  const end = content.indexOf("\n");
  const body = content.slice(end + 1);
  if (end < 0 || sha256(body) !== content.slice(0, end)) return undefined;
  return JSON.parse(
    body,
    (_, value) => typeof value?.base64 === "string" ? Uint8Array.fromBase64(value.base64) : value,
  );
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

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
  if (images.length <= MAXIMUM_ENTRIES) return;
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
