import { hex } from "../../x86/hex.ts";
import type { DeviceMemory } from "../device.ts";

type MemberType = "i32" | "u64" | "i64";

/** The packed structures, in their members' order. */
const STRUCTURES = {
  write: { fd: "i32", buf: "u64", len: "u64" },
  open: { name: "u64", flags: "i32", mode: "i32", ret: "i32" },
  close: { fd: "i32", ret: "i32" },
  read: { fd: "i32", buf: "u64", len: "u64", ret: "i64" },
  exit: { arg: "i32" },
  lseek: { fd: "i32", offset: "i64", whence: "i32" },
  netwrite: { data: "u64", len: "u64", ret: "i32" },
  netread: { data: "u64", len: "u64", ret: "i32" },
  netstat: { status: "i32" },
  cmdval: { argv: "u64", envp: "u64" },
  unlink: { name: "u64", ret: "i32" },
} as const;

/** Its name. */
export type StructureName = keyof typeof STRUCTURES;

const SIZES: Readonly<Record<MemberType, number>> = { i32: 4, u64: 8, i64: 8 };

/** A structure of the guest's. */
export class Structure {
  readonly values: Record<string, number | bigint | string> = {};
  readonly #memory: DeviceMemory;
  readonly #gpa: number;
  readonly #name: StructureName;
  readonly #offsets: Record<string, { offset: number; type: MemberType }> = {};
  readonly #view: DataView;

  constructor(memory: DeviceMemory, gpa: number, name: StructureName) {
    this.#memory = memory;
    this.#gpa = gpa;
    this.#name = name;
    let size = 0;
    for (const [member, type] of Object.entries<MemberType>(STRUCTURES[name])) {
      this.#offsets[member] = { offset: size, type };
      size += SIZES[type];
    }
    const bytes = pointing(name, "the structure", gpa, () => memory.read(gpa, size));
    this.#view = new DataView(bytes.buffer);
    for (const member of Object.keys(this.#offsets)) this.values[member] = this.#get(member);
  }

  bigint(member: string): bigint {
    return BigInt(this.#get(member));
  }

  number(member: string): number {
    return Number(this.#get(member));
  }

  /** A length: one that no memory could hold counts as one that is too long. */
  count(member: string): number {
    return Math.min(this.number(member), Number.MAX_SAFE_INTEGER);
  }

  set(member: string, value: number): void {
    const { offset, type } = this.#offsets[member];
    const bytes = new Uint8Array(SIZES[type]);
    const view = new DataView(bytes.buffer);
    if (type === "i32") view.setInt32(0, value, true);
    else view.setBigInt64(0, BigInt(value), true);
    this.values[member] = value;
    this.#memory.write(this.#gpa + offset, bytes);
  }

  /** What a pointer points to, for the list of calls. */
  say(member: string, text: string): void {
    this.values[member] = text;
  }

  /** Does what follows a pointer of the guest's. */
  pointing<Result>(member: string, body: () => Result): Result {
    return pointing(this.#name, member, this.bigint(member), body);
  }

  #get(member: string): number | bigint {
    const { offset, type } = this.#offsets[member];
    switch (type) {
      case "i32":
        return this.#view.getInt32(offset, true);
      case "u64":
        return this.#view.getBigUint64(offset, true);
      case "i64":
        return this.#view.getBigInt64(offset, true);
    }
  }
}

/** @throws {RangeError} Where the guest has no memory at what it points to. */
export function pointing<Result>(
  name: string,
  what: string,
  address: number | bigint,
  body: () => Result,
): Result {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof RangeError) || error.message.startsWith("Cannot take the hypercall")) {
      throw error;
    }
    throw new RangeError(
      `Cannot take the hypercall ${name}: ${what} is at ${
        hex(address)
      }, where the guest has no memory (${error.message.split("\n")[0]})`,
      { cause: error },
    );
  }
}
