import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { terminatedBytes } from "../bytes.ts";
import { cString } from "../../x86/boot/protocols/memory_map.ts";
import { UNIKERNEL_PORT as PORT } from "../../x86/layout.ts";
import type { Device, DeviceBoard } from "../device.ts";
import { DEFAULT_CAPACITY, KeptOutput } from "../kept_output.ts";
import { pointing, Structure, type StructureName } from "./structure.ts";
import {
  type FilesState,
  type FileTree,
  FolderFiles,
  MemoryFiles,
  type OpenFile,
} from "./files.ts";

/** What a {@linkcode Unikernel} gives its guest. */
export interface UnikernelOptions {
  /** The arguments of the command line, without the program's name in front unless it is given. Default none. */
  readonly args?: readonly string[];
  /** The environment, by name. Default empty. */
  readonly env?: Readonly<Record<string, string>>;
  /** What the guest reads from descriptor 0. Default nothing. */
  readonly input?: string | Uint8Array;
  /** Files in memory, by path; or give `folder`. Default none. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** A folder of the host's whose files the guest sees: nothing outside of it, and through no link. */
  readonly folder?: string | URL;
  /** Whether the guest may change files, make and remove them. Default false. */
  readonly writable?: boolean;
  /** Frames that wait for the guest; without it the network is down. */
  readonly frames?: readonly Uint8Array[];
}

// deno-fmt-ignore
const NAMES: NamesOf<UnikernelOptions> = {
  args: "value", env: "value", input: "value", files: "value", folder: "value", writable: "flag", frames: "value",
};

/** A hypercall that the guest has made. */
export interface Hypercall {
  /** Its name: `"open"`. */
  readonly name: string;
  /** What it was told, and what it gave, by the names of the structure's members; paths and texts in words. */
  readonly values: Readonly<Record<string, number | bigint | string>>;
}

interface State {
  readonly files: FilesState;
  readonly calls: readonly Hypercall[];
  readonly sent: readonly Uint8Array[];
  readonly output: ReturnType<KeptOutput["save"]>;
  readonly frames: readonly Uint8Array[];
  readonly input: Uint8Array;
  readonly status: number | undefined;
}

/** The most arguments, and variables, that the command line's structure has room for. */
const MOST_ARGUMENTS = 128;
const WORD = 4;
const POINTER = 8;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const FAILED = -1;

/** The first descriptor that `open` gives, and how many files may be open. */
const FIRST_DESCRIPTOR = 3;
const MOST_OPEN_FILES = 1024;

const LONGEST_TEXT = 4096;
const PIECE = 4096;

/** The largest frame that is taken. */
const LARGEST_FRAME = 65536;

/**
 * The interface of a monitor for unikernels, uhyve 0.2.1, as one device: a 32-bit `out` carries the guest physical
 * address of a packed structure, the port says which call it is. Buffers of `read` and `write` are guest-virtual, all
 * other pointers physical. With it go the boot convention `"unikernel"` and what else is on that monitor's board.
 *
 * A call that points to where the guest has no memory ends the run with an error: it is a fault of the guest's. What the
 * host refuses (a path that leads out, a file that is not there) the guest is told by -1.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Unikernel } from "@vmexit/vmexit/devices";
 *
 * const calls = new Unikernel();
 * using vm = boot(asm`
 *   bits 64
 *   mov dx, 0x400
 *   mov eax, call
 *   out dx, eax
 *   hlt
 * align 8
 * call:
 *   dd 1                  ; descriptor: standard output
 *   dq text, 6
 * text: db "hello", 10
 * `, { convention: "unikernel", devices: [calls] });
 * vm.run();
 * console.log(calls.output); // hello
 * ```
 */
export class Unikernel implements Device {
  /** See {@linkcode Device.name}. */
  readonly name = "unikernel";
  readonly #options: UnikernelOptions;
  readonly #files: FileTree;
  #open = new Map<number, OpenFile>();
  #calls: Hypercall[] = [];
  #sent: Uint8Array[] = [];
  readonly #output = new KeptOutput(DEFAULT_CAPACITY);
  #frames: Uint8Array[];
  #input: Uint8Array;
  #status: number | undefined;
  #board!: DeviceBoard;

  /**
   * The monitor's side of the calls.
   *
   * @throws {TypeError} When there are both files in memory and a folder.
   * @throws {RangeError} When there are too many arguments, or a path is none.
   */
  constructor(options: UnikernelOptions = {}) {
    checkOptions("make a unikernel's monitor", options, NAMES);
    const { args = [], env = {}, files = {}, folder, writable = false, input = "" } = options;
    if (folder !== undefined && options.files !== undefined) {
      throw new TypeError("Cannot give the guest files and a folder: give one of them");
    }
    checkTexts("arguments", args);
    checkTexts(
      "variables",
      Object.entries(env).map(([name, value]) => {
        if (typeof value === "string" && !name.includes("=")) return `${name}=${value}`;
        throw new TypeError(
          `Cannot give the guest the variable ${name}: ${
            String(value)
          } is no text, or there is a = in its name`,
        );
      }),
    );
    if (typeof input !== "string" && !(input instanceof Uint8Array)) {
      throw new TypeError(`Cannot give the guest the input ${String(input)}: give text, or bytes`);
    }
    if (!isListOf(options.frames ?? [], (frame) => frame instanceof Uint8Array)) {
      throw new TypeError("Cannot give the guest these frames: give a list of Uint8Array");
    }
    this.#options = options;
    this.#files = folder === undefined
      ? new MemoryFiles(files, writable)
      : new FolderFiles(folder, writable);
    this.#frames = [...options.frames ?? []];
    this.#input = typeof input === "string" ? new TextEncoder().encode(input) : input;
  }

  /** The calls that the guest has made, in order. */
  get calls(): readonly Hypercall[] {
    return this.#calls;
  }

  /** What the guest has written to its standard output, its standard error and its UART, as UTF-8. */
  get output(): string {
    return this.#output.text;
  }

  /** The argument of `exit`; undefined as long as the guest has not called it. */
  get exitStatus(): number | undefined {
    return this.#status;
  }

  /** The frames that the guest has sent. */
  get sentFrames(): readonly Uint8Array[] {
    return this.#sent;
  }

  /** The files in memory as they are now; empty where the guest has a folder. */
  get files(): ReadonlyMap<string, Uint8Array> {
    return this.#files instanceof MemoryFiles ? this.#files.contents : new Map();
  }

  /** Lets a frame arrive. */
  receive(frame: Uint8Array): void {
    this.#frames.push(frame);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    const call = (port: number, name: string, take: (gpa: number) => void) =>
      board.ports.on(port, {
        name: `unikernel ${name}`,
        write: (_port, gpa, size) => {
          if (size !== WORD) {
            throw new RangeError(
              `Cannot take the hypercall ${name}: the guest wrote ${size} byte${
                size === 1 ? "" : "s"
              } to port ${hex(port)}, and an address has 4`,
            );
          }
          take(gpa);
        },
      });
    const structured = (name: StructureName, take: (call: Structure) => void) =>
      call(PORT[name], name, (gpa) => {
        const structure = new Structure(board.memory, gpa, name);
        take(structure);
        this.#note({ name, values: structure.values });
      });
    structured("write", (call) => this.#write(call));
    structured("read", (call) => this.#read(call));
    structured("open", (call) => this.#openFile(call));
    structured("close", (call) => call.set("ret", this.#close(call.number("fd"))));
    structured("lseek", (call) => this.#seek(call));
    structured("unlink", (call) => {
      const isGone = this.#files.unlink(this.#text(call, "name"));
      call.set("ret", isGone ? 0 : FAILED);
    });
    structured("exit", (call) => {
      this.#status = call.number("arg");
      board.powerOff();
    });
    structured("netwrite", (call) => this.#sendFrame(call));
    structured("netread", (call) => this.#receiveFrame(call));
    structured("netstat", (call) => call.set("status", this.#options.frames === undefined ? 0 : 1));
    structured("cmdval", (call) => this.#commandValues(call));
    call(PORT.cmdsize, "cmdsize", (gpa) => this.#commandSizes(gpa));
    board.ports.on(PORT.uart, {
      name: "unikernel UART",
      write: (_port, value) => this.#print(Uint8Array.of(value & 0xff)),
    });
  }

  /** Closes the guest's files, and forgets its exit. */
  reset(): void {
    this.#closeAll();
    this.#status = undefined;
  }

  #closeAll(): void {
    for (const file of this.#open.values()) file[Symbol.dispose]();
    this.#open.clear();
  }

  /** See {@linkcode Device.save}. What is in a folder of the host's is no part of it. */
  save(): unknown {
    return structuredClone(
      {
        files: this.#files.save(this.#open),
        calls: this.#calls,
        sent: this.#sent,
        output: this.#output.save(),
        frames: this.#frames,
        input: this.#input,
        status: this.#status,
      } satisfies State,
    );
  }

  /**
   * See {@linkcode Device.restore}.
   *
   * @throws {Deno.errors.NotFound} When the guest had a file of the host's open that is not there any more.
   */
  restore(state: unknown): void {
    const { files, calls, sent, output, frames, input, status } = structuredClone(state as State);
    this.#closeAll();
    this.#open = this.#files.restore(files);
    this.#calls = [...calls];
    this.#sent = [...sent];
    this.#output.restore(output);
    this.#frames = [...frames];
    this.#input = input;
    this.#status = status;
  }

  /** Closes the guest's files. */
  [Symbol.dispose](): void {
    this.reset();
  }

  #write(call: Structure): void {
    const fd = call.number("fd");
    const file = this.#open.get(fd);
    const isOutput = fd === STDOUT || fd === STDERR;
    if (file === undefined && !isOutput) {
      throw new RangeError(
        `Cannot take the hypercall write: the guest has no descriptor ${fd} open for it`,
      );
    }
    this.#pieces(call, (address, length) => {
      const bytes = this.#board.cpu.linear.read(address, length);
      if (isOutput) return this.#print(bytes), length;
      const written = file!.write(bytes);
      if (written === length) return written;
      throw new RangeError(
        `Cannot take the hypercall write: descriptor ${fd} takes no more, or was not opened for it`,
      );
    });
  }

  #read(call: Structure): void {
    const fd = call.number("fd");
    const file = this.#open.get(fd);
    if (file === undefined && fd !== STDIN) return call.set("ret", FAILED);
    let failed = false;
    const read = this.#pieces(call, (address, length) => {
      const bytes = fd === STDIN ? this.#takeInput(length) : file!.read(length);
      failed ||= bytes === undefined;
      if (bytes !== undefined) this.#board.cpu.linear.write(address, bytes);
      return bytes?.length ?? 0;
    });
    call.set("ret", failed ? FAILED : read);
  }

  /** Hands a buffer to `take`, in pieces, until one is not taken whole. */
  #pieces(call: Structure, take: (address: bigint, length: number) => number): number {
    const start = call.bigint("buf");
    const total = call.count("len");
    let done = 0;
    while (done < total) {
      const address = start + BigInt(done);
      // Up to the next page: a buffer that runs into a hole is taken up to there.
      const room = PIECE - Number(address % BigInt(PIECE));
      const length = Math.min(total - done, room);
      const taken = call.pointing(`buf`, () => take(address, length));
      done += taken;
      if (taken < length) break;
    }
    return done;
  }

  #openFile(call: Structure): void {
    const path = this.#text(call, "name");
    const fd = this.#freeDescriptor();
    const file = fd === undefined
      ? undefined
      : this.#files.open(path, call.number("flags"), call.number("mode"));
    if (file !== undefined) this.#open.set(fd!, file);
    call.set("ret", file === undefined ? FAILED : fd!);
  }

  #freeDescriptor(): number | undefined {
    if (this.#open.size >= MOST_OPEN_FILES) return undefined;
    let fd = FIRST_DESCRIPTOR;
    while (this.#open.has(fd)) fd++;
    return fd;
  }

  #close(fd: number): number {
    const file = this.#open.get(fd);
    if (file === undefined) return fd >= STDIN && fd <= STDERR ? 0 : FAILED;
    this.#open.delete(fd);
    file[Symbol.dispose]();
    return 0;
  }

  #seek(call: Structure): void {
    const file = this.#open.get(call.number("fd"));
    call.set("offset", file?.seek(call.number("offset"), call.number("whence")) ?? FAILED);
  }

  #sendFrame(call: Structure): void {
    const length = call.count("len");
    if (this.#options.frames === undefined || length > LARGEST_FRAME) {
      return call.set("ret", FAILED);
    }
    const read = () => this.#board.memory.read(call.number("data"), length);
    this.#sent.push(call.pointing("data", read));
    call.set("ret", 0);
  }

  #receiveFrame(call: Structure): void {
    const [frame] = this.#frames;
    if (frame === undefined || frame.length > call.count("len")) return call.set("ret", FAILED);
    call.pointing("data", () => this.#board.memory.write(call.number("data"), frame));
    this.#frames = this.#frames.slice(1);
    call.set("len", frame.length);
    call.set("ret", 0);
  }

  get #arguments(): Uint8Array[] {
    return (this.#options.args ?? []).map(cString);
  }

  get #variables(): Uint8Array[] {
    return Object.entries(this.#options.env ?? {}).map(([name, value]) =>
      cString(`${name}=${value}`)
    );
  }

  /** `{ argc i32, argsz i32[128], envc i32, envsz i32[128] }`; sizes count the terminator. */
  #commandSizes(gpa: number): void {
    const half = WORD * (1 + MOST_ARGUMENTS);
    const bytes = new Uint8Array(2 * half);
    const view = new DataView(bytes.buffer);
    for (const [start, texts] of [[0, this.#arguments], [half, this.#variables]] as const) {
      view.setInt32(start, texts.length, true);
      for (const [index, { length }] of texts.entries()) {
        view.setInt32(start + WORD * (1 + index), length, true);
      }
    }
    pointing("cmdsize", "the structure", gpa, () => this.#board.memory.write(gpa, bytes));
    const values = { argc: this.#arguments.length, envc: this.#variables.length };
    this.#note({ name: "cmdsize", values });
  }

  #note(call: Hypercall): void {
    this.#calls.push(call);
    const values = Object.entries(call.values).map(([member, value]) =>
      `${member} ${
        typeof value === "string" ? JSON.stringify(value) : value < 0 ? value : hex(value)
      }`
    );
    this.#board.describe(`${call.name}: ${values.join(", ")}`);
  }

  /** The strings go where the guest's two arrays of pointers say. */
  #commandValues(call: Structure): void {
    const { memory } = this.#board;
    for (const [member, texts] of [["argv", this.#arguments], ["envp", this.#variables]] as const) {
      for (const [index, text] of texts.entries()) {
        call.pointing(member, () => {
          const entry = memory.read(call.number(member) + POINTER * index, POINTER);
          memory.write(Number(new DataView(entry.buffer).getBigUint64(0, true)), text);
        });
      }
    }
  }

  #takeInput(length: number): Uint8Array {
    const taken = this.#input.subarray(0, length);
    this.#input = this.#input.subarray(taken.length);
    return taken;
  }

  #print(bytes: Uint8Array): void {
    for (const byte of bytes) this.#output.add(byte);
  }

  /** A text of the guest's, up to its terminator, by physical address. */
  #text(call: Structure, member: string): string {
    const start = call.number(member);
    const { memory } = this.#board;
    const byteAt = (index: number) => call.pointing(member, () => memory.read(start + index, 1))[0];
    const text = new TextDecoder().decode(terminatedBytes(byteAt, LONGEST_TEXT));
    call.say(member, text);
    return text;
  }
}

/** @throws {TypeError | RangeError} When they are no texts, or more than a structure has room for. */
function checkTexts(what: string, texts: unknown): void {
  const isText = (text: unknown) => typeof text === "string" && !text.includes("\0");
  if (!isListOf(texts, isText)) {
    throw new TypeError(
      `Cannot give the guest these ${what}: they are no list of texts without NUL`,
    );
  }
  if (texts.length > MOST_ARGUMENTS) {
    throw new RangeError(
      `Cannot give the guest ${texts.length} ${what}: it takes ${MOST_ARGUMENTS}`,
    );
  }
}

function isListOf(list: unknown, isOne: (element: unknown) => boolean): list is unknown[] {
  return Array.isArray(list) && Array.from(list).every(isOne);
}
