import { onLiveBytes } from "../memory/address_space.ts";
import type { BackedMemory, MemoryOverlay, MemoryPiece } from "../memory/physical_memory.ts";
import { storePiece } from "../memory/physical_memory.ts";
import type { CodePoint } from "./code_point.ts";

/** `int3`, which KVM reports as DEBUG where it is asked to; `hlt`, which is an exit at CPL 0. */
export const OPCODE = { int3: 0xcc, hlt: 0xf4 } as const;

/** A trap in memory. */
interface Trap extends MemoryPiece {
  readonly point: CodePoint;
}

/**
 * The traps in a machine's memory: bytes that stand for the first ones of instructions. Whoever reads the memory by the
 * library sees the instructions; whoever writes there, or is given the memory itself, takes the traps away.
 */
export class TrapBytes implements MemoryOverlay, Disposable {
  /** The opcode. */
  readonly opcode: number;
  /** How many were taken away before they were reached, because the test looked at the memory itself. */
  taken = 0;
  readonly #memory: BackedMemory;
  /** By where they are in which buffer: one memory may be shown by several slots. */
  readonly #traps = new Map<ArrayBufferLike, Map<number, Trap>>();
  readonly #listeners = new DisposableStack();

  /** None in this memory yet. */
  constructor(memory: BackedMemory, opcode: number) {
    this.#memory = memory;
    this.opcode = opcode;
  }

  /** The memory at a physical address; undefined where there is none. */
  placeOf(physical: number): MemoryPiece | undefined {
    const slot = this.#memory.slotAt(physical);
    return slot && { pages: slot.pages, start: physical - slot.gpa, length: 1 };
  }

  /** Puts a trap in the place of an instruction's first byte. */
  set(place: MemoryPiece, point: CodePoint): void {
    storePiece(place, Uint8Array.of(this.opcode));
    this.#note(place, point);
  }

  #note(place: MemoryPiece, point: CodePoint): void {
    const { buffer } = place.pages.bytes;
    let traps = this.#traps.get(buffer);
    if (traps === undefined) {
      this.#traps.set(buffer, traps = new Map());
      this.#listeners.use(onLiveBytes(buffer, (bytes) => this.#takeFrom(bytes)));
    }
    traps.set(keyOf(place), { ...place, point });
  }

  /** The instruction that is trapped at a place. */
  at(place: MemoryPiece): CodePoint | undefined {
    return this.#traps.get(place.pages.bytes.buffer)?.get(keyOf(place))?.point;
  }

  /** Whether the byte at a place that was trapped is still the trap's, and not the guest's. */
  isThere(place: MemoryPiece): boolean {
    const { pages: { bytes }, start } = place;
    if (bytes[start] !== this.opcode) return false;
    // Guests write code with a HLT over theirs, and hardly ever an int3.
    return this.opcode === OPCODE.int3 ||
      (this.at(place)?.isStillAt(bytes, start, this.opcode, true) ?? false);
  }

  /** Forgets the trap at a place, whose byte is somebody else's by now. */
  forget(place: MemoryPiece): void {
    this.#traps.get(place.pages.bytes.buffer)?.delete(keyOf(place));
  }

  /** Puts an instruction's first byte back. */
  putBack(place: MemoryPiece, { original }: CodePoint): void {
    storePiece(place, Uint8Array.of(original));
    this.forget(place);
  }

  /** Puts all first bytes back. */
  putAllBack(): void {
    for (const traps of this.#traps.values()) {
      for (const trap of [...traps.values()]) this.#putBackIfThere(trap);
    }
  }

  /**
   * Finds out which traps there are, where memory is that of another time.
   *
   * @param isWanted Whether an instruction is to have one.
   */
  lookAgain(
    places: Iterable<readonly [MemoryPiece, CodePoint]>,
    isWanted: (point: CodePoint) => boolean,
  ): void {
    for (const [place, point] of places) {
      const { pages: { bytes }, start } = place;
      const isInstruction = point.isStillAt(bytes, start, this.opcode);
      this.forget(place);
      if (!isInstruction) continue;
      const isTrap = bytes[start] === this.opcode;
      if (isTrap && isWanted(point)) this.#note(place, point);
      else if (isTrap) storePiece(place, Uint8Array.of(point.original));
      else if (bytes[start] === point.original && isWanted(point)) this.set(place, point);
    }
  }

  /** See {@linkcode MemoryOverlay}. */
  readInto(piece: MemoryPiece, target: Uint8Array): void {
    this.#each(piece.pages.bytes, piece.start, piece.length, ({ point }, at) => {
      if (target[at] === this.opcode) target[at] = point.original;
    });
  }

  /** See {@linkcode MemoryOverlay}. */
  wroteTo({ pages, start, length }: MemoryPiece): void {
    this.#each(pages.bytes, start, length, (trap) => this.forget(trap));
  }

  /** Ends. */
  [Symbol.dispose](): void {
    this.#listeners[Symbol.dispose]();
    this.#traps.clear();
  }

  #takeFrom(bytes: Uint8Array): void {
    this.#each(bytes, 0, bytes.length, (trap) => {
      if (this.#putBackIfThere(trap)) this.taken++;
    });
  }

  #putBackIfThere(trap: Trap): boolean {
    const isThere = this.isThere(trap);
    if (isThere) this.putBack(trap, trap.point);
    else this.forget(trap);
    return isThere;
  }

  /** Calls `body` for each trap in a range, with its offset there. */
  #each(
    { buffer, byteOffset }: Uint8Array,
    start: number,
    length: number,
    body: (trap: Trap, at: number) => void,
  ): void {
    const traps = this.#traps.get(buffer);
    if (traps === undefined) return;
    const first = byteOffset + start;
    if (length < traps.size) {
      for (let at = 0; at < length; at++) {
        const trap = traps.get(first + at);
        if (trap !== undefined) body(trap, at);
      }
      return;
    }
    for (const [key, trap] of [...traps]) {
      if (key >= first && key < first + length) body(trap, key - first);
    }
  }
}

/** Where a place is in its buffer. */
function keyOf({ pages, start }: MemoryPiece): number {
  return pages.bytes.byteOffset + start;
}
