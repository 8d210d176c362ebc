/** Flags of `open` as Linux has them on x86 (include/uapi/asm-generic/fcntl.h). */
export const O = {
  ACCMODE: 0o3,
  RDONLY: 0o0,
  WRONLY: 0o1,
  RDWR: 0o2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
} as const;

/** From where `lseek` counts. */
export const SEEK = { SET: 0, CUR: 1, END: 2 } as const;

/** A file that the guest has open. What cannot be done gives undefined. */
export interface OpenFile extends Disposable {
  /** Up to so many bytes from the file's position on; fewer at its end. */
  read(count: number): Uint8Array | undefined;
  /** Writes bytes, and gives how many were. */
  write(bytes: Uint8Array): number | undefined;
  /** Moves the position, and gives it. */
  seek(offset: number, whence: number): number | undefined;
}

/** The files that a guest can open by their paths. */
export interface FileTree {
  /** Opens a file; undefined where that cannot be. */
  open(path: string, flags: number, mode: number): OpenFile | undefined;
  /** Removes a file. False where that cannot be. */
  unlink(path: string): boolean;
}

const LONGEST_PATH = 4096;

/** The largest file that is kept in memory: a guest must not fill the host. */
const LARGEST_FILE = 64 * 1024 * 1024;

/** As much have all files in memory together. */
const MOST_BYTES = LARGEST_FILE;

/**
 * The names on the way to a file, from the root of what the guest may see; undefined for a path that would lead out of
 * it, or names no file.
 */
export function pathNames(path: string): string[] | undefined {
  if (path.length === 0 || path.length > LONGEST_PATH || path.includes("\0")) return undefined;
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  return names.length === 0 || names.includes("..") ? undefined : names;
}

/** Files in memory, by their paths. What the guest writes shows in {@linkcode MemoryFiles.contents}. */
export class MemoryFiles implements FileTree {
  readonly #files = new Map<string, { bytes: Uint8Array }>();
  readonly #isWritable: boolean;

  /**
   * A tree with these files.
   *
   * @param isWritable Whether the guest may change them, and make others.
   * @throws {RangeError} When a path is none.
   */
  constructor(files: Readonly<Record<string, string | Uint8Array>>, isWritable: boolean) {
    this.#isWritable = isWritable;
    for (const [path, content] of Object.entries(files)) {
      const names = pathNames(path);
      if (names === undefined) {
        throw new RangeError(
          `Cannot give the guest a file ${JSON.stringify(path)}: it is no path to a file`,
        );
      }
      if (typeof content !== "string" && !(content instanceof Uint8Array)) {
        throw new TypeError(
          `Cannot give the guest the file ${path} with ${String(content)}: give text, or bytes`,
        );
      }
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      this.#files.set(names.join("/"), { bytes: bytes.slice() });
    }
  }

  /** The files as they are now. */
  get contents(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#files].map(([path, { bytes }]) => [path, bytes.slice()]));
  }

  /** See {@linkcode FileTree.open}. */
  open(path: string, flags: number): OpenFile | undefined {
    const key = pathNames(path)?.join("/");
    const access = flags & O.ACCMODE;
    const writes = access !== O.RDONLY;
    if (key === undefined || access === O.ACCMODE) return undefined;
    if ((writes || (flags & (O.CREAT | O.TRUNC)) !== 0) && !this.#isWritable) return undefined;
    let file = this.#files.get(key);
    if (file !== undefined && (flags & O.CREAT) !== 0 && (flags & O.EXCL) !== 0) return undefined;
    if (file === undefined) {
      if ((flags & O.CREAT) === 0) return undefined;
      file = { bytes: new Uint8Array() };
      this.#files.set(key, file);
    } else if (writes && (flags & O.TRUNC) !== 0) file.bytes = new Uint8Array();
    return new OpenMemoryFile(file, {
      reads: access !== O.WRONLY,
      writes,
      appends: (flags & O.APPEND) !== 0,
      hasRoom: (growth) => this.#size + growth <= MOST_BYTES,
    });
  }

  /** Bytes of all files. */
  get #size(): number {
    return [...this.#files.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** See {@linkcode FileTree.unlink}. */
  unlink(path: string): boolean {
    const key = pathNames(path)?.join("/");
    return this.#isWritable && key !== undefined && this.#files.delete(key);
  }
}

/** With room for as much again: a file that grows page by page is not copied at each. */
function grown(old: Uint8Array, length: number): Uint8Array {
  const bytes = length <= old.buffer.byteLength
    ? new Uint8Array(old.buffer, 0, length)
    : new Uint8Array(Math.max(length, 2 * old.length)).subarray(0, length);
  if (bytes.buffer !== old.buffer) bytes.set(old);
  return bytes;
}

/** What may be done with an open file in memory. */
interface MemoryFileUse {
  readonly reads: boolean;
  readonly writes: boolean;
  readonly appends: boolean;
  /** Whether its tree may have so many bytes more. */
  readonly hasRoom: (growth: number) => boolean;
}

class OpenMemoryFile implements OpenFile {
  readonly #file: { bytes: Uint8Array };
  readonly #use: MemoryFileUse;
  #position = 0;

  constructor(file: { bytes: Uint8Array }, use: MemoryFileUse) {
    this.#file = file;
    this.#use = use;
  }

  read(count: number): Uint8Array | undefined {
    if (!this.#use.reads) return undefined;
    const bytes = this.#file.bytes.slice(this.#position, this.#position + count);
    this.#position += bytes.length;
    return bytes;
  }

  write(bytes: Uint8Array): number | undefined {
    const { writes, appends, hasRoom } = this.#use;
    if (!writes) return undefined;
    const { bytes: old } = this.#file;
    if (appends) this.#position = old.length;
    const end = this.#position + bytes.length;
    if (end > old.length) {
      if (!hasRoom(end - old.length)) return undefined;
      this.#file.bytes = grown(old, end);
    }
    this.#file.bytes.set(bytes, this.#position);
    this.#position = end;
    return bytes.length;
  }

  seek(offset: number, whence: number): number | undefined {
    const base = [0, this.#position, this.#file.bytes.length][whence];
    if (base === undefined || !(base + offset >= 0 && base + offset <= LARGEST_FILE)) {
      return undefined;
    }
    return this.#position = base + offset;
  }

  [Symbol.dispose](): void {}
}

/** The files of a folder of the host's: none outside of it, and no symbolic link is followed. */
export class FolderFiles implements FileTree {
  readonly #folder: string;
  readonly #isWritable: boolean;

  /**
   * A tree whose root is a folder.
   *
   * @param isWritable Whether the guest may change what is there.
   * @throws {Deno.errors.NotFound} When there is no such folder.
   */
  constructor(folder: string | URL, isWritable: boolean) {
    this.#folder = Deno.realPathSync(folder);
    this.#isWritable = isWritable;
  }

  /** See {@linkcode FileTree.open}. */
  open(path: string, flags: number, mode: number): OpenFile | undefined {
    const access = flags & O.ACCMODE;
    const write = access !== O.RDONLY;
    const create = (flags & O.CREAT) !== 0;
    const truncate = (flags & O.TRUNC) !== 0;
    if ((write || create || truncate) && !this.#isWritable) return undefined;
    const file = this.#locate(path);
    if (file === undefined || access === O.ACCMODE) return undefined;
    const append = write && (flags & O.APPEND) !== 0;
    // Without write access there is nothing that Deno could create or truncate with.
    if ((create || truncate) && !write) return undefined;
    return attempt(() =>
      new OpenHostFile(Deno.openSync(file, {
        read: access !== O.WRONLY,
        write: write && !append,
        append,
        create,
        createNew: create && (flags & O.EXCL) !== 0,
        truncate: truncate && !append,
        mode: mode & 0o777,
      }))
    );
  }

  /** See {@linkcode FileTree.unlink}. */
  unlink(path: string): boolean {
    const file = this.#locate(path);
    if (file === undefined || !this.#isWritable) return false;
    return attempt(() => (Deno.removeSync(file), true)) ?? false;
  }

  /** The host's path of a file; undefined where it leads over a link, or to a folder. */
  #locate(path: string): string | undefined {
    const names = pathNames(path);
    if (names === undefined) return undefined;
    let place = this.#folder;
    for (const [index, name] of names.entries()) {
      place += `/${name}`;
      const info = attempt(() => Deno.lstatSync(place));
      const isLast = index === names.length - 1;
      if (info === undefined ? !isLast : isLast ? !info.isFile : !info.isDirectory) {
        return undefined;
      }
    }
    return place;
  }
}

class OpenHostFile implements OpenFile {
  readonly #file: Deno.FsFile;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  read(count: number): Uint8Array | undefined {
    const bytes = new Uint8Array(Math.min(count, LARGEST_FILE));
    const read = attempt(() => this.#file.readSync(bytes) ?? 0);
    return read === undefined ? undefined : bytes.subarray(0, read);
  }

  write(bytes: Uint8Array): number | undefined {
    return attempt(() => {
      const end = this.#file.seekSync(0, Deno.SeekMode.Current) + bytes.length;
      return end > LARGEST_FILE ? undefined : this.#file.writeSync(bytes);
    });
  }

  seek(offset: number, whence: number): number | undefined {
    if (!Object.values<number>(SEEK).includes(whence)) return undefined;
    return attempt(() => this.#file.seekSync(offset, whence));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** What the host refuses the guest is told; that this process may not do it is the test's affair. */
function attempt<Result>(body: () => Result): Result | undefined {
  try {
    return body();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}
