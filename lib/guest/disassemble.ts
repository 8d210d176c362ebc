import { HostError, SystemError } from "../ffi/errors.ts";
import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { atCaller } from "./call_site.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import { MemoryFile } from "./tool.ts";
import { runTool, type ToolHost, toolHost } from "./tool.ts";

/** How code is to be disassembled. */
export interface DisassembleOptions {
  /** The width of the code. Without it: 16. */
  readonly bits?: CodeBits;
  /** The address of the first byte, for the targets of jumps. Without it: 0. */
  readonly origin?: number | bigint;
  /** How many instructions, at most. Without it: all. */
  readonly count?: number;
}

const DISASSEMBLE_OPTIONS: NamesOf<DisassembleOptions> = {
  bits: "value",
  origin: "value",
  count: "value",
};

/** One instruction. */
export interface Instruction {
  /** Bytes from the first of the code. */
  readonly offset: number;
  /** Its address. A bigint: in long mode it may be any 64-bit number. */
  readonly address: bigint;
  /** Its bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its NASM text: `mov ax,0x1`; `db 0xff` where the bytes are no instruction. */
  readonly text: string;
}

/** What {@linkcode disassemble} found. */
export interface Disassembly {
  /** In the order of their addresses. Empty where there is no disassembler. */
  readonly instructions: readonly Instruction[];
  /** Why there are none, and what to do about it. */
  readonly unavailable?: string;
}

/** No x86 instruction is longer (Intel SDM volume 2, 2.3.11). */
export const LONGEST_INSTRUCTION = 15;
const ROW = /^([0-9A-F]{8,})\s+([0-9A-F]+)\s+(.*)$/;
/** The bytes of a long instruction go on in the next row. */
const CONTINUATION = /^\s+-([0-9A-F]+)$/;
const ORIGIN_MASK = 2n ** 64n - 1n;

/**
 * Disassembles code with `ndisasm`, which comes with NASM. Where that cannot be run it says so in `unavailable` instead
 * of throwing: what is shown of a failed test must not fail itself.
 *
 * @example
 * ```ts
 * import { disassemble } from "@vmexit/vmexit";
 * import { assertEquals } from "@std/assert";
 *
 * const { instructions } = disassemble(new Uint8Array([0xb8, 0x01, 0x00, 0xf4]), { origin: 0x7c00 });
 * assertEquals(instructions.map(({ text }) => text), ["mov ax,0x1", "hlt"]);
 * assertEquals(instructions[1].address, 0x7c03n);
 * ```
 */
export function disassemble(code: Uint8Array, options: DisassembleOptions = {}): Disassembly {
  return atCaller(disassemble, () => {
    checkOptions("disassemble", options, DISASSEMBLE_OPTIONS);
    return disassembleOn(toolHost, code, options);
  });
}

/** {@linkcode disassemble} with the tools of `host`. */
export function disassembleOn(
  host: ToolHost,
  code: Uint8Array,
  options: DisassembleOptions = {},
): Disassembly {
  const { bits = 16, origin = 0, count = Infinity } = options;
  const first = BigInt(origin) & ORIGIN_MASK;
  const bytes = new Uint8Array(code.slice(0, Math.min(code.length, count * LONGEST_INSTRUCTION)));
  if (bytes.length === 0) return { instructions: [] };
  try {
    using file = new MemoryFile(host.libc(), "ndisasm input", bytes);
    const args = ["-b", String(bits), "-o", `0x${first.toString(16)}`, "-p", "intel", file.path];
    const result = runTool(host, "ndisasm", args);
    if (result === undefined) {
      return unavailable("ndisasm is not there; it comes with NASM: apt-get install nasm");
    }
    if (result.code !== 0) return unavailable(`ndisasm failed: ${result.stderr.trim()}`);
    return { instructions: parseRows(result.stdout, bytes).slice(0, count) };
  } catch (error) {
    const expected = error instanceof Deno.errors.NotCapable || error instanceof HostError ||
      error instanceof SystemError || error instanceof Deno.errors.PermissionDenied;
    if (!expected) throw error;
    return unavailable(error.message);
  }
}

const unavailable = (reason: string): Disassembly => ({ instructions: [], unavailable: reason });

function parseRows(output: string, code: Uint8Array<ArrayBuffer>): Instruction[] {
  const rows: { address: bigint; length: number; text: string }[] = [];
  for (const line of output.split("\n")) {
    const [, address, bytes, text] = ROW.exec(line) ?? [];
    const continued = CONTINUATION.exec(line)?.[1];
    if (address !== undefined) {
      rows.push({ address: BigInt(`0x${address}`), length: bytes.length / 2, text });
    } else if (continued !== undefined && rows.length > 0) {
      rows.at(-1)!.length += continued.length / 2;
    }
  }
  let offset = 0;
  return rows.map(({ address, length, text }) => {
    const bytes = code.slice(offset, offset + length);
    offset += length;
    return { offset: offset - length, address, bytes, text };
  });
}
