import { checkOptions } from "../x86/defined_entries.ts";
import { BYTE_BITS, joinBytes } from "./bytes.ts";
import type { Device, DeviceBoard, DeviceRom } from "./device.ts";

/** How a flash chip is made. */
export interface FlashOptions {
  /** What it holds: whole blocks. */
  readonly content: Uint8Array;
  /** Its first address, a multiple of 4096. By default it ends at 4 GiB. */
  readonly address?: number;
  /** How much is erased at once: a power of two from 4096 on. Default 4096. */
  readonly blockSize?: number;
}

const END_32 = 2 ** 32;
const SMALLEST_BLOCK = 4096;
const ERASED = 0xff;

/** Commands (Intel, "Common Flash Interface and Command Sets", application note 646). */
const COMMAND = {
  READ_ARRAY: 0xff,
  READ_STATUS: 0x70,
  CLEAR_STATUS: 0x50,
  READ_ID: 0x90,
  QUERY: 0x98,
  PROGRAM: 0x40,
  PROGRAM_10: 0x10,
  ERASE: 0x20,
  CONFIRM: 0xd0,
} as const;

/** Bits of the status register. */
const STATUS = { READY: 0x80, ERASE_ERROR: 0x20, PROGRAM_ERROR: 0x10 } as const;

/** What a chip says that is asked who it is: Intel, and a chip of theirs; behind those, that no block is locked. */
const IDENTITY = [0x89, 0x18, 0x00] as const;

/** Where the answer of the query begins, and the table of its command set lies (CFI 2.0, table 2 and 3). */
const QUERY = { START: 0x10, COMMAND_SET: 0x31 } as const;

/** What reads give: the array, or something of the chip's. */
type Mode = "array" | "status" | "identity" | "query";

/** What a command waits for. */
type Pending = "program" | "erase" | undefined;

interface State {
  readonly content: Uint8Array;
  readonly mode: Mode;
  readonly pending: Pending;
  readonly status: number;
}

/**
 * A flash chip by the command set of Intel, of 8 bits, as firmware keeps its variables in (`pflash` of QEMU): its array
 * is memory that the guest reads and runs from; commands program bytes, whose bits go from 1 to 0 alone, and erase blocks.
 * Status, identity and the Common Flash Interface's query are read from all of it, in the mode that a command has set.
 *
 * Intel, "Common Flash Interface (CFI) and Command Sets" (application note 646). Nothing takes time. As of QEMU's chip, the
 * status is 0 once it has been cleared, and READY after what was done then: firmware for virtual machines tells flash
 * from ROM by that. Left out: buffered writes, locks, suspending, protection registers.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Flash } from "@vmexit/vmexit/devices";
 *
 * const flash = new Flash({ content: new Uint8Array(0x1_0000).fill(0xff) });
 * using vm = boot(asm`
 *   bits 32
 *   mov ebx, 0xffff0123
 *   mov byte [ebx], 0x40      ; program
 *   mov byte [ebx], "v"
 *   mov byte [ebx], 0xff      ; read the array
 *   mov al, [ebx]
 *   hlt
 * `, { devices: [flash] });
 * vm.run();
 * console.log(vm.registers.al === 0x76, flash.content[0x123] === 0x76); // true true
 * ```
 */
export class Flash implements Device {
  /** The name in tables of exits. */
  readonly name = "flash";
  readonly #first: number;
  readonly #size: number;
  readonly #blockSize: number;
  readonly #query: ReadonlyMap<number, number>;
  #initial: Uint8Array | undefined;
  #array!: DeviceRom;
  #mode: Mode = "array";
  #pending: Pending;
  #status: number = STATUS.READY;

  /**
   * A chip that shows its array.
   *
   * @throws {RangeError} When its content is not made of whole blocks, or a block or its address cannot be.
   */
  constructor(options: FlashOptions) {
    checkOptions("make a flash chip", options, {
      content: "value",
      address: "value",
      blockSize: "value",
    });
    const { content, blockSize = SMALLEST_BLOCK } = options;
    if (!(content instanceof Uint8Array)) {
      throw new TypeError(`Cannot make a flash chip of ${String(content)}: give a Uint8Array`);
    }
    const isBlock = Number.isInteger(Math.log2(blockSize)) && blockSize >= SMALLEST_BLOCK;
    if (!isBlock || content.length === 0 || content.length % blockSize !== 0) {
      throw new RangeError(
        `Cannot make a flash chip of ${content.length} bytes in blocks of ${blockSize}: blocks are powers of two from ` +
          `${SMALLEST_BLOCK} on, and a chip has whole ones`,
      );
    }
    const { address = END_32 - content.length } = options;
    this.#initial = content.slice();
    this.#first = address;
    this.#size = content.length;
    this.#blockSize = blockSize;
    this.#query = queryOf(content.length, blockSize);
  }

  /** What it holds now: a copy. */
  get content(): Uint8Array<ArrayBuffer> {
    return this.#initial?.slice() ?? this.#array.read(0, this.#size);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#array = board.placeRom(this.#first, this.#initial!);
    this.#initial = undefined;
    board.mmio.on([this.#first, this.#first + this.#size - 1], {
      name: this.name,
      read: (address, size) => {
        const bytes = Array.from(
          { length: size },
          (_, at) => this.#read(address - this.#first + at),
        );
        if (size <= 4) return joinBytes(size, (at) => bytes[at]);
        return bytes.reduceRight((all, byte) => all << BigInt(BYTE_BITS) | BigInt(byte), 0n);
      },
      write: (address, value, size) => {
        const bytes = Array.from(
          { length: size },
          (_, at) => Number(BigInt(value) >> BigInt(BYTE_BITS * at) & 0xffn),
        );
        this.#write(address - this.#first, bytes);
      },
    });
  }

  /** Shows the array. What it holds stays. */
  reset(): void {
    this.#status = STATUS.READY;
    this.#pending = undefined;
    this.#enter("array");
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    const state: State = {
      content: this.content,
      mode: this.#mode,
      pending: this.#pending,
      status: this.#status,
    };
    return state;
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { content, mode, pending, status } = state as State;
    this.#array.write(0, content);
    this.#status = status;
    this.#pending = pending;
    this.#enter(mode);
  }

  #enter(mode: Mode): void {
    this.#mode = mode;
    this.#array.isShown = mode === "array";
  }

  #read(offset: number): number {
    switch (this.#mode) {
      case "array":
        return this.#array.read(offset, 1)[0];
      case "status":
        return this.#status;
      case "identity":
        return IDENTITY[offset % this.#blockSize] ?? 0;
      case "query":
        return this.#query.get(offset % this.#blockSize) ?? 0;
    }
  }

  #write(offset: number, bytes: readonly number[]): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === "program") return this.#program(offset, bytes);
    const [command] = bytes;
    if (pending === "erase") return this.#erase(offset, command);
    switch (command) {
      case COMMAND.READ_STATUS:
        return this.#enter("status");
      case COMMAND.READ_ID:
        return this.#enter("identity");
      case COMMAND.QUERY:
        return this.#enter("query");
      case COMMAND.PROGRAM:
      case COMMAND.PROGRAM_10:
        this.#pending = "program";
        return this.#enter("status");
      case COMMAND.ERASE:
        this.#pending = "erase";
        return this.#enter("status");
      case COMMAND.CLEAR_STATUS:
        this.#status = 0;
        return this.#enter("array");
      default:
        return this.#enter("array");
    }
  }

  /** Bits become 0, and none 1. */
  #program(offset: number, bytes: readonly number[]): void {
    const inside = bytes.slice(0, this.#size - offset);
    const before = this.#array.read(offset, inside.length);
    this.#array.write(offset, Uint8Array.from(inside, (byte, at) => byte & before[at]));
    this.#status |= STATUS.READY;
  }

  #erase(offset: number, command: number): void {
    this.#status |= STATUS.READY;
    if (command !== COMMAND.CONFIRM) {
      // A sequence that is none (application note 646, status register).
      this.#status |= STATUS.ERASE_ERROR | STATUS.PROGRAM_ERROR;
      return;
    }
    const start = offset - offset % this.#blockSize;
    this.#array.write(start, new Uint8Array(this.#blockSize).fill(ERASED));
  }
}

/** The answer to the query: identification, voltages and times, geometry, and the table of the command set (CFI 2.0, 3). */
function queryOf(size: number, blockSize: number): ReadonlyMap<number, number> {
  const word = (value: number) => [value & 0xff, value >> BYTE_BITS & 0xff];
  const text = (three: string) => Array.from(three, (letter) => letter.charCodeAt(0));
  const answer = [
    ...text("QRY"),
    ...word(1), // the command set of Intel
    ...word(QUERY.COMMAND_SET),
    ...word(0), // no other
    ...word(0),
    ...[0x45, 0x55, 0, 0], // 4.5 to 5.5 V
    ...[1, 0, 1, 0], // typically 2 μs a byte, and 2 ms a block
    ...[0, 0, 0, 0],
    Math.ceil(Math.log2(size)),
    ...word(0), // 8 bits
    ...word(0), // no buffer
    1, // all blocks are alike
    ...word(size / blockSize - 1),
    ...word(blockSize / 256),
    ...text("PRI"),
    ...text("10"),
  ];
  return new Map(answer.map((byte, index) => [QUERY.START + index, byte]));
}
