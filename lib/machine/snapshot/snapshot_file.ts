import { createHash } from "node:crypto";
import { deserialize, serialize } from "node:v8";
import { gunzipSync, gzipSync } from "node:zlib";
import { CONTROLLERS, INTERVAL_TIMER, KVM_CLOCK, type VmPiece } from "./controllers_state.ts";
import { CPU_PIECES } from "./cpu_state.ts";
import type { MachineIdentity } from "./identity.ts";
import type { MachineState } from "./machine_state.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import type { PageContents } from "../memory/tracked_pages.ts";

/** How a snapshot's file begins: this text, the checksum of all that comes behind it, and how long the header is. */
const MAGIC = new TextEncoder().encode("vmexit snapshot\n");
const CHECKSUM = { start: MAGIC.length, size: 32 };
const HEADER_LENGTH = CHECKSUM.start + CHECKSUM.size;
const HEADER = HEADER_LENGTH + 4;

/** What the header, as JSON, says. */
interface Header {
  /** What kind of machine it is of, and on what. */
  readonly identity: MachineIdentity;
  /** How many bytes the state has, compressed. */
  readonly size: number;
}

/** What is in a file. */
export interface SnapshotFile {
  /** What kind of machine it is of, and on what. */
  readonly identity: MachineIdentity;
  /** The state. */
  readonly state: MachineState;
}

/**
 * A snapshot as the bytes of a file.
 *
 * @throws {TypeError} When a device or a handler has given state that cannot be written.
 */
export function encodeSnapshot({ identity, state }: SnapshotFile): Uint8Array<ArrayBuffer> {
  let body: Uint8Array;
  try {
    body = gzipSync(serialize(plain(state)), { level: 1 });
  } catch (error) {
    throw new TypeError(
      `Cannot write the snapshot: what a device or a handler gives by save() is no plain data (${
        (error as Error).message
      })`,
      { cause: error },
    );
  }
  const header = new TextEncoder().encode(
    JSON.stringify({ identity, size: body.length } satisfies Header),
  );
  const bytes = new Uint8Array(HEADER + header.length + body.length);
  new DataView(bytes.buffer).setUint32(HEADER_LENGTH, header.length, true);
  bytes.set(header, HEADER);
  bytes.set(body, HEADER + header.length);
  bytes.set(MAGIC);
  bytes.set(checksum(bytes), CHECKSUM.start);
  return bytes;
}

/**
 * A snapshot from the bytes of a file.
 *
 * @param path What the file is called, for messages.
 * @throws {TypeError} When it is no snapshot's, or one that is cut short or damaged.
 */
export function decodeSnapshot(path: string, bytes: Uint8Array<ArrayBuffer>): SnapshotFile {
  const refuse = (why: string) => new TypeError(`Cannot load the snapshot ${path}: ${why}`);
  const isWhole = (size: number) => {
    if (bytes.length < size) {
      throw refuse(`it is cut short, and has ${bytes.length} bytes of ${size} or more`);
    }
  };
  const start = bytes.subarray(0, MAGIC.length);
  if (bytes.length === 0) throw refuse("it is empty");
  if (!start.every((byte, index) => byte === MAGIC[index])) {
    throw refuse("it is no file of vm.snapshot()");
  }
  isWhole(HEADER);
  const body = HEADER +
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(HEADER_LENGTH, true);
  isWhole(body);
  const header = parsed(bytes.subarray(HEADER, body));
  if (header !== undefined) isWhole(body + header.size);
  const found = bytes.subarray(CHECKSUM.start, CHECKSUM.start + CHECKSUM.size);
  const isDamaged = !checksum(bytes).every((byte, index) => byte === found[index]);
  if (header === undefined || isDamaged) throw refuse("it is damaged: its checksum is another");
  const state = revived(deserialize(gunzipSync(bytes.subarray(body))) as PlainState);
  return { identity: header.identity, state };
}

function parsed(bytes: Uint8Array<ArrayBuffer>): Header | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function checksum(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes.subarray(HEADER_LENGTH)).digest();
}

/** A machine's state as plain data: pieces by their names, pages one behind the other. */
type PlainState = ReturnType<typeof plain>;

type Piece = readonly [piece: { readonly name: string }, bytes: Uint8Array<ArrayBuffer>];

function named(pieces: readonly Piece[]): [string, Uint8Array<ArrayBuffer>][] {
  return pieces.map(([{ name }, bytes]) => [name, bytes]);
}

function pieces<Kind extends { readonly name: string }>(
  kinds: readonly Kind[],
  saved: readonly [string, Uint8Array<ArrayBuffer>][],
): (readonly [Kind, Uint8Array<ArrayBuffer>])[] {
  return saved.map(([name, bytes]) => [kinds.find((each) => each.name === name)!, own(bytes)]);
}

/** In a buffer of its own, which the kernel is given the address of. */
function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

const VM_PIECES: readonly VmPiece[] = [...CONTROLLERS, INTERVAL_TIMER, KVM_CLOCK];

function plain(state: MachineState) {
  const { memory, cpus, controllers, timers, handlerStates, run, ...others } = state;
  return {
    ...others,
    cpus: cpus.map(named),
    controllers: named(controllers),
    timers: named(timers),
    handlerStates: handlerStates.map(({ place, state }) => ({ place, state })),
    run: {
      ...run,
      // Breakpoints are a test's own.
      cpus: run.cpus.map((cpu) => ({ ...cpu, debug: { ...cpu.debug, hits: [] } })),
    },
    memory: {
      ...memory,
      contents: memory.contents.map((contents) => ({
        pages: Uint32Array.from(contents.keys()),
        bytes: joined([...contents.values()]),
      })),
      slots: memory.slots.map(({ slot, gpa, size, readonly }) => ({ slot, gpa, size, readonly })),
    },
  };
}

function joined(pages: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pages.length * PAGE_SIZE);
  for (const [index, page] of pages.entries()) bytes.set(page, index * PAGE_SIZE);
  return bytes;
}

function revived({ memory, cpus, controllers, timers, ...others }: PlainState): MachineState {
  const contentsOf = ({ pages, bytes }: PlainState["memory"]["contents"][number]): PageContents =>
    new Map(
      Array.from(pages, (page, index) => [
        page,
        own(bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE)),
      ]),
    );
  return {
    ...others,
    cpus: cpus.map((cpu) => pieces(CPU_PIECES, cpu)),
    controllers: pieces(VM_PIECES, controllers),
    timers: pieces(VM_PIECES, timers),
    memory: {
      ...memory,
      contents: memory.contents.map(contentsOf),
      // Of another machine's slots nothing is asked but where they are.
      slots: memory.slots as unknown as MachineState["memory"]["slots"],
    },
  };
}
