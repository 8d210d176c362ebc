import { ERRNO, SystemError } from "../ffi/errors.ts";
import { MFD, SEEK } from "../ffi/files.ts";
import { OwnedFd } from "../ffi/handles.ts";
import type { Libc } from "../ffi/libc.ts";
import { libc } from "../ffi/real_libc.ts";
import { cacheFolder, permitted, permittedEnvironment } from "./cache_folder.ts";

/** What a finished program left. */
export interface ToolResult {
  /** The command that was run. */
  readonly command: string;
  /** Its exit code; 128 and more where a signal ended it. */
  readonly code: number;
  /** What it wrote to standard output. */
  readonly stdout: string;
  /** What it wrote to standard error. */
  readonly stderr: string;
}

/** What guests are assembled and read with. Tests replace it, to count the runs and to have them fail. */
export interface ToolHost {
  /** The C library, for files in memory. */
  libc(): Libc;
  /**
   * Runs a program to its end.
   *
   * @param folder Its working directory.
   * @throws {Deno.errors.NotFound} When there is no such program.
   * @throws {Deno.errors.NotCapable} When `run` is not permitted for it.
   */
  run(command: string, args: readonly string[], folder?: string): ToolResult;
}

/** This machine. */
export const toolHost: ToolHost = {
  libc,
  run(command, args, folder) {
    const output = new Deno.Command(command, {
      args: [...args],
      cwd: folder,
      // Options that the user keeps there for other projects would change what guests become.
      env: { NASMENV: "" },
    }).outputSync();
    const decoder = new TextDecoder();
    return {
      command,
      code: output.code,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
    };
  },
};

/** The programs that guests are made and read with, by the package that `vmexit setup` gets them from. */
const PACKAGE_OF = {
  nasm: "nasm",
  ndisasm: "nasm",
  readelf: "binutils",
  addr2line: "binutils",
  "c++filt": "binutils",
  gdb: "gdb",
} as const;

/** A program of NASM's or of GNU binutils, or gdb. */
export type ToolName = keyof typeof PACKAGE_OF;

/**
 * The commands to try for a tool, in this order: for `nasm` what the environment variable `VMEXIT_NASM` names and
 * nothing else; otherwise the one on the `PATH`, then the one that `vmexit setup` unpacked into its cache.
 */
export function toolCommands(name: ToolName): string[] {
  const chosen = name === "nasm" ? permittedEnvironment("VMEXIT_NASM") : undefined;
  if (chosen !== undefined) return [chosen];
  const cache = cacheFolder();
  return cache === undefined ? [name] : [name, `${cache}/${PACKAGE_OF[name]}/usr/bin/${name}`];
}

/**
 * Runs the first of a tool's commands that there is, or gives undefined where there is none.
 *
 * @throws {Deno.errors.NotCapable} When `run` is not permitted for the first.
 */
export function runTool(
  host: ToolHost,
  name: ToolName,
  args: readonly string[],
  folder?: string,
): ToolResult | undefined {
  for (const [index, command] of toolCommands(name).entries()) {
    try {
      return runWherePossible(host, command, args, folder);
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable && index === 0) {
        throw new Deno.errors.NotCapable(
          `Cannot run ${command}: it is not permitted. Run with --allow-run=${command}, or put ` +
            `"run": ["${command}"] among the permissions in deno.json.`,
          { cause: error },
        );
      }
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) {
        continue;
      }
      throw error;
    }
  }
  return undefined;
}

function runWherePossible(
  host: ToolHost,
  command: string,
  args: readonly string[],
  folder: string | undefined,
): ToolResult {
  try {
    return host.run(command, args, folder);
  } catch (error) {
    // The folder may be what is not there: the module of a compiled program stands in none.
    if (folder === undefined || !(error instanceof Deno.errors.NotFound)) throw error;
    return host.run(command, args);
  }
}

/**
 * Which NASM will assemble: its path, size and time of change. To ask it for its version would cost a run of it.
 * Undefined where that cannot be found out without asking for permissions.
 */
export function nasmIdentity(): string | undefined {
  for (const command of toolCommands("nasm")) {
    for (const path of candidatePaths(command)) {
      const stat = statQuietly(path);
      if (stat?.isFile) return `${path}:${stat.size}:${stat.mtime?.getTime()}`;
    }
  }
  return undefined;
}

function candidatePaths(command: string): string[] {
  if (command.includes("/")) return [command];
  const folders = permittedEnvironment("PATH")?.split(":") ?? [];
  return folders.map((folder) => `${folder}/${command}`);
}

function statQuietly(path: string): Deno.FileInfo | undefined {
  if (!permitted(path, "read")) return undefined;
  try {
    return Deno.statSync(path);
  } catch {
    return undefined;
  }
}

/**
 * A file that exists in memory alone (`memfd_create(2)`), which a child process opens by its path. It needs no
 * permission for files, leaves nothing on a disk, and is gone when it is disposed or the process ends.
 */
export class MemoryFile implements Disposable {
  /** The path under which another process of this user opens it. */
  readonly path: string;
  readonly #libc: Libc;
  readonly #fd: OwnedFd;

  /**
   * @param name For messages and `/proc`.
   * @param content What it holds at the start.
   * @throws {SystemError} When the descriptors or the memory are used up.
   */
  constructor(libc: Libc, name: string, content?: Uint8Array<ArrayBuffer>) {
    const fd = libc.memfd_create(name, MFD.CLOEXEC);
    if (fd < 0) {
      throw new SystemError("memfd_create", libc.errno(), `a file in memory for ${name}`);
    }
    this.#libc = libc;
    this.#fd = new OwnedFd(libc, fd, name);
    // By the process's number and not by /proc/self, which in the child would be the child's own.
    this.path = `/proc/${Deno.pid}/fd/${fd}`;
    if (content !== undefined) this.#fill(content, name);
  }

  /** All that it holds now. @throws {SystemError} When it cannot be read. */
  read(): Uint8Array<ArrayBuffer> {
    const size = this.#libc.lseek(this.#fd.number, 0, SEEK.END);
    if (size < 0) {
      throw new SystemError("lseek", this.#libc.errno(), "the size of a file in memory");
    }
    const content = new Uint8Array(size);
    if (this.#libc.pread(this.#fd.number, content, 0) !== size) {
      throw new SystemError("pread", this.#libc.errno(), "the content of a file in memory");
    }
    return content;
  }

  /** Frees it. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #fill(content: Uint8Array<ArrayBuffer>, name: string): void {
    const written = this.#libc.write(this.#fd.number, content);
    if (written === content.length) return;
    const errno = written < 0 ? this.#libc.errno() : ERRNO.ENOSPC;
    this[Symbol.dispose]();
    throw new SystemError(
      "write",
      errno,
      `${content.length} bytes into a file in memory for ${name}`,
    );
  }
}
