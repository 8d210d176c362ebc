import { NestedError } from "./nested_error.ts";

/** A regular file or a folder of a tar archive. */
export interface TarEntry {
  /** Its path as stored, without slashes at its ends. */
  path: string;
  /** A file's content; `undefined` for a folder. */
  content?: Uint8Array;
}

const BLOCK = 512;

/** Fields of the ustar header (POSIX.1-2017, pax, "ustar Interchange Format"): offset and length. */
const FIELD = {
  name: [0, 100],
  size: [124, 12],
  type: [156, 1],
  magic: [257, 5],
  prefix: [345, 155],
} as const;
const TYPE = { file: "0", oldFile: "", folder: "5", gnuLongName: "L" } as const;

function text(header: Uint8Array, field: readonly [number, number]): string {
  const bytes = header.subarray(field[0], field[0] + field[1]);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Hands out exactly as many bytes as are asked for. */
class BlockReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      if (this.#chunk.length === 0) {
        const { value, done } = await this.#reader.read();
        if (done) throw new NestedError("The files from the nested machine broke off");
        this.#chunk = value;
      }
      const part = this.#chunk.subarray(0, length - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.#chunk = this.#chunk.subarray(part.length);
    }
    return bytes;
  }
}

/**
 * The files and folders of a tar archive (ustar with GNU's long names, as busybox writes it); links and devices are
 * passed over. It stops at the archive's end mark and does not wait for the end of the stream.
 *
 * @param stream The archive.
 * @throws {NestedError} When the archive is cut short.
 */
export async function* readTar(stream: ReadableStream<Uint8Array>): AsyncGenerator<TarEntry> {
  const reader = new BlockReader(stream);
  let longName: string | undefined;
  while (true) {
    const header = await reader.read(BLOCK);
    if (header.every((byte) => byte === 0)) return;
    const size = Number.parseInt(text(header, FIELD.size).trim() || "0", 8);
    const padded = await reader.read(Math.ceil(size / BLOCK) * BLOCK);
    const content = padded.subarray(0, size);
    const type = text(header, FIELD.type);
    if (type === TYPE.gnuLongName) {
      longName = new TextDecoder().decode(content).replace(/\0+$/, "");
      continue;
    }
    const prefix = text(header, FIELD.magic) === "ustar" ? text(header, FIELD.prefix) : "";
    const name = text(header, FIELD.name);
    const path = (longName ?? (prefix === "" ? name : `${prefix}/${name}`)).replace(/^\/|\/$/g, "");
    longName = undefined;
    if (type === TYPE.folder) yield { path };
    else if (type === TYPE.file || type === TYPE.oldFile) yield { path, content };
  }
}
