import { AsmSource } from "../../guest/asm_source.ts";
import { Image } from "../../guest/image.ts";
import { hex } from "../../x86/hex.ts";
import { REAL_MODE, SYSTEM_MANAGEMENT } from "../../x86/layout.ts";
import { systemManagementEntry } from "../../x86/boot/modes/system_management.ts";
import type { SmmOptions } from "./boot_options.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { PhysicalMemory } from "../memory/physical_memory.ts";

/** The MSR that holds SMBASE (Intel SDM Vol. 4, table 2-2: IA32_SMBASE); KVM takes it from outside. */
const IA32_SMBASE = 0x9e;

/** `jmp` to a far pointer: the offset's two bytes, then the segment's (Intel SDM Vol. 2A, JMP). */
const OPCODE_JMP_FAR = 0xea;
const FAR_JUMP_SIZE = 5;
const WORD_SIZE = 2;
const OFFSETS = 0x1_0000;
const PARAGRAPH = 16;

/** A handler with its place. */
export interface SmmHandler {
  /** SMBASE. */
  readonly base: number;
  /** What lies at SMBASE + 0x8000. */
  readonly bytes: Uint8Array;
}

/**
 * Assembles the handler of system-management interrupts.
 *
 * @param image The guest, for its labels.
 * @throws {RangeError} When SMBASE is none, the memory ends before its area does, the handler reaches into the area
 *   in which the CPU saves its state, or cannot be jumped to.
 * @throws {TypeError} When the handler is none.
 * @throws {AssemblyError} When NASM refuses it.
 */
export function smmHandler(
  { handler, base = SYSTEM_MANAGEMENT.base }: SmmOptions,
  image: Image,
  memorySize: number,
): SmmHandler {
  const entry = systemManagementEntry({ smbase: base });
  const end = base + SYSTEM_MANAGEMENT.size;
  if (end > memorySize) {
    throw new RangeError(
      `Cannot give the guest an SMM handler: its area is ${hex(base)}–${
        hex(end - 1)
      }, and the memory ends at ${hex(memorySize)}. Give more with the \`memory\` option.`,
    );
  }
  const bytes = handlerBytes(handler, image);
  const room = entry.saveArea - entry.handler;
  if (bytes.length > room) {
    throw new RangeError(
      `Cannot give the guest an SMM handler of ${bytes.length} bytes: there is room for ${room} at ${
        hex(entry.handler)
      }. Let it be a label of the guest, which is jumped to.`,
    );
  }
  return { base, bytes };
}

/** Writes a handler into memory, and tells the CPU where it is. */
export function placeSmmHandler(memory: PhysicalMemory, vcpu: Vcpu, smm: SmmHandler): void {
  memory.write(smm.base + SYSTEM_MANAGEMENT.entry, smm.bytes);
  if (smm.base === SYSTEM_MANAGEMENT.base) return;
  vcpu.msrs.setMsrs([{ index: IA32_SMBASE, data: BigInt(smm.base) }]);
}

function handlerBytes(handler: SmmOptions["handler"], image: Image): Uint8Array {
  if (typeof handler === "string") return jumpTo(Number(image.symbol(handler)), `label ${handler}`);
  if (typeof handler === "number") return jumpTo(handler, "address");
  if (handler instanceof AsmSource) {
    return flatBytes(handler.assemble({ origin: SYSTEM_MANAGEMENT.entry, bits: 16 }));
  }
  if (handler instanceof Image) return flatBytes(handler);
  throw new TypeError(
    `Cannot give the guest an SMM handler from ${typeof handler}: write asm\`…\`, or give an Image, a label of ` +
      "the guest or an address",
  );
}

/** With the zeros of its `.bss`. */
function flatBytes(image: Image): Uint8Array {
  const bytes = new Uint8Array(image.size);
  bytes.set(image.bytes);
  return bytes;
}

function jumpTo(address: number, what: string): Uint8Array {
  if (!Number.isInteger(address) || address < 0 || address >= REAL_MODE.memorySize) {
    throw new RangeError(
      `Cannot give the guest an SMM handler at the ${what}, ${
        Number.isInteger(address) ? hex(address) : address
      }: 16-bit code reaches addresses below 1 MiB. Load it lower, or give it as assembly of its own.`,
    );
  }
  const bytes = new Uint8Array(FAR_JUMP_SIZE);
  const view = new DataView(bytes.buffer);
  const offset = address % OFFSETS;
  view.setUint8(0, OPCODE_JMP_FAR);
  view.setUint16(1, offset, true);
  view.setUint16(1 + WORD_SIZE, (address - offset) / PARAGRAPH, true);
  return bytes;
}
