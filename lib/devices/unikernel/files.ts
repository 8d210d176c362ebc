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

/** Files and those that are open, by their descriptors, as plain data. */
export interface FilesState {
  /** Those in memory; one that was unlinked while it is open has no path. */
  readonly files: readonly { readonly path: string | undefined; readonly bytes: Uint8Array }[];
  readonly open: readonly OpenFileState[];
}

/** An open file, as plain data. */
interface OpenFileState {
  readonly fd: number;
  readonly flags: number;
  readonly position: number;
  /** Of a file in memory its index, of one of the host's its path. */
  readonly file: number | string;
}

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
  /** The files as far as they are not the host's, and those that are open. */
  save(open: ReadonlyMap<number, OpenFile>): FilesState;
  /**
   * Takes such a state, and opens what was open.
   *
   * @throws {Deno.errors.NotFound} When the host has a file no more.
   */
  restore(state: FilesState): Map<number, OpenFile>;
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
  #files = new Map<string, MemoryFile>();
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
    return this.#openFile(file, flags);
  }

  #openFile(file: MemoryFile, flags: number, position: number = 0): OpenMemoryFile {
    const hasRoom = (growth: number) => this.#size + growth <= MOST_BYTES;
    return new OpenMemoryFile(file, flags, hasRoom, position);
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

  /** See {@linkcode FileTree.save}. */
  save(open: ReadonlyMap<number, OpenFile>): FilesState {
    const files = new Map(
      [...this.#files].map(([path, file]) => [file, path as string | undefined]),
    );
    const opened = [...open as ReadonlyMap<number, OpenMemoryFile>];
    for (const [, { file }] of opened) if (!files.has(file)) files.set(file, undefined);
    const places = [...files.keys()];
    return {
      files: [...files].map(([{ bytes }, path]) => ({ path, bytes: bytes.slice() })),
      open: opened.map(([fd, { file, flags, position }]) => ({
        fd,
        flags,
        position,
        file: places.indexOf(file),
      })),
    };
  }

  /** See {@linkcode FileTree.restore}. */
  restore(state: FilesState): Map<number, OpenFile> {
    const files = state.files.map(({ path, bytes }) => ({ path, file: { bytes: bytes.slice() } }));
    this.#files = new Map(
      files.flatMap(({ path, file }) => path === undefined ? [] : [[path, file]]),
    );
    return new Map(
      state.open.map(({ fd, flags, position, file }) => [
        fd,
        this.#openFile(files[file as number].file, flags, position),
      ]),
    );
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

interface MemoryFile {
  bytes: Uint8Array;
}

class OpenMemoryFile implements OpenFile {
  readonly file: MemoryFile;
  readonly flags: number;
  /** Whether its tree may have so many bytes more. */
  readonly #hasRoom: (growth: number) => boolean;
  position: number;

  constructor(
    file: MemoryFile,
    flags: number,
    hasRoom: (growth: number) => boolean,
    position: number,
  ) {
    this.file = file;
    this.flags = flags;
    this.#hasRoom = hasRoom;
    this.position = position;
  }

  read(count: number): Uint8Array | undefined {
    if ((this.flags & O.ACCMODE) === O.WRONLY) return undefined;
    const bytes = this.file.bytes.slice(this.position, this.position + count);
    this.position += bytes.length;
    return bytes;
  }

  write(bytes: Uint8Array): number | undefined {
    if ((this.flags & O.ACCMODE) === O.RDONLY) return undefined;
    const { bytes: old } = this.file;
    if ((this.flags & O.APPEND) !== 0) this.position = old.length;
    const end = this.position + bytes.length;
    if (end > old.length) {
      if (!this.#hasRoom(end - old.length)) return undefined;
      this.file.bytes = grown(old, end);
    }
    this.file.bytes.set(bytes, this.position);
    this.position = end;
    return bytes.length;
  }

  seek(offset: number, whence: number): number | undefined {
    const base = [0, this.position, this.file.bytes.length][whence];
    if (base === undefined || !(base + offset >= 0 && base + offset <= LARGEST_FILE)) {
      return undefined;
    }
    return this.position = base + offset;
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
    const options = {
      read: access !== O.WRONLY,
      write: write && !append,
      append,
      create,
      createNew: create && (flags & O.EXCL) !== 0,
      truncate: truncate && !append,
      mode: mode & 0o777,
    };
    return attempt(() => new OpenHostFile(path, flags, Deno.openSync(file, options)));
  }

  /** See {@linkcode FileTree.unlink}. */
  unlink(path: string): boolean {
    const file = this.#locate(path);
    if (file === undefined || !this.#isWritable) return false;
    return attempt(() => (Deno.removeSync(file), true)) ?? false;
  }

  /** See {@linkcode FileTree.save}. What is in the files is the host's, and no part of it. */
  save(open: ReadonlyMap<number, OpenFile>): FilesState {
    const opened = [...open as ReadonlyMap<number, OpenHostFile>];
    return {
      files: [],
      open: opened.map(([fd, { path, flags, position }]) => ({ fd, flags, position, file: path })),
    };
  }

  /** See {@linkcode FileTree.restore}. */
  restore({ open }: FilesState): Map<number, OpenFile> {
    using opened = new DisposableStack();
    const files = new Map<number, OpenFile>();
    for (const { fd, flags, position, file: path } of open) {
      const file = this.open(path as string, flags & (O.ACCMODE | O.APPEND), 0);
      if (file === undefined) {
        throw new Deno.errors.NotFound(
          `Cannot restore the guest's descriptor ${fd}: its file ${path} cannot be opened any more`,
        );
      }
      opened.use(file).seek(position, SEEK.SET);
      files.set(fd, file);
    }
    opened.move();
    return files;
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
  readonly path: string;
  readonly flags: number;
  readonly #file: Deno.FsFile;

  constructor(path: string, flags: number, file: Deno.FsFile) {
    this.path = path;
    this.flags = flags;
    this.#file = file;
  }

  get position(): number {
    return this.#file.seekSync(0, Deno.SeekMode.Current);
  }

  read(count: number): Uint8Array | undefined {
    const bytes = new Uint8Array(Math.min(count, LARGEST_FILE));
    const read = attempt(() => this.#file.readSync(bytes) ?? 0);
    return read === undefined ? undefined : bytes.subarray(0, read);
  }

  write(bytes: Uint8Array): number | undefined {
    return attempt(() => {
      const end = this.position + bytes.length;
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
