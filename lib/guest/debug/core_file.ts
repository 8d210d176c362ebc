import type { CType } from "../../ffi/c_type.ts";
import { u32, u64 } from "../../ffi/scalar.ts";
import { ELF32, ELF64, type ElfStructs, type ElfWord } from "../elf_file.ts";
import type { StoppedState } from "../image_init.ts";

/** A class of ELF files as a core of it is made: the structures, and the registers in the order of `elf_prstatus`. */
interface CoreClass {
  readonly structs: ElfStructs;
  readonly identity: readonly number[];
  readonly machine: number;
  readonly word: typeof u32 | typeof u64;
  /** Which word of `elf_prstatus` has `pr_pid`, how many lie before the registers, and how many behind them. */
  readonly around: { readonly pid: number; readonly before: number; readonly behind: number };
  /** Those that are not told are left out: `""`. */
  readonly registers: readonly string[];
}

// elf.h; linux/elfcore.h, `struct elf_prstatus`; asm/user_64.h and asm/user_32.h, `struct user_regs_struct`
const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const LITTLE_ENDIAN_VERSION_1 = [1, 1];
const ET_CORE = 4;
const PT = { LOAD: 1, NOTE: 4 } as const;
const NT_PRSTATUS = 1;
const NOTE_NAME = "CORE\0\0\0\0";
const NOTE_NAME_SIZE = 5;

const CLASSES: Readonly<Record<32 | 64, CoreClass>> = {
  64: {
    structs: ELF64,
    identity: [...MAGIC, 2, ...LITTLE_ENDIAN_VERSION_1],
    machine: 62,
    word: u64,
    around: { pid: 4, before: 14, behind: 1 },
    registers: [
      ...["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"],
      ...["rsi", "rdi", "", "rip", "", "rflags", "rsp", "", "", "", "", "", "", ""],
    ],
  },
  32: {
    structs: ELF32,
    identity: [...MAGIC, 1, ...LITTLE_ENDIAN_VERSION_1],
    machine: 3,
    word: u32,
    around: { pid: 6, before: 18, behind: 1 },
    registers: [
      ...["rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rax", "", "", "", "", "", "rip", ""],
      ...["rflags", "rsp", ""],
    ],
  },
};

/**
 * Threads, each given by its registers, and the memory that they share, as a core file of Linux, which debuggers read
 * (elf(5), core(5)).
 */
export function coreFile(
  threads: readonly StoppedState["registers"][],
  memory: StoppedState["memory"],
  bits: 32 | 64,
): Uint8Array<ArrayBuffer> {
  const { structs: { header, programHeader }, identity, machine } = CLASSES[bits];
  const notes = threads.flatMap((registers, index) => [...noteOf(registers, index + 1, bits)]);
  const parts = [{ address: 0n, bytes: Uint8Array.from(notes) }, ...memory];
  let end = header.size + parts.length * programHeader.size;
  const offsets = parts.map(({ bytes }) => (end += bytes.length) - bytes.length);
  const core = new Uint8Array(end);
  const view = new DataView(core.buffer);
  header.write(view, 0, {
    e_type: ET_CORE,
    e_machine: machine,
    e_phoff: wide(header.size, bits),
    e_phentsize: programHeader.size,
    e_phnum: parts.length,
  });
  core.set(identity);
  parts.forEach(({ address, bytes }, index) => {
    programHeader.write(view, header.size + index * programHeader.size, {
      p_type: index === 0 ? PT.NOTE : PT.LOAD,
      p_offset: wide(offsets[index], bits),
      p_vaddr: wide(address, bits),
      p_filesz: wide(bytes.length, bits),
      p_memsz: wide(bytes.length, bits),
    });
    core.set(bytes, offsets[index]);
  });
  return core;
}

/** The note that has a thread's registers. */
function noteOf(registers: StoppedState["registers"], pid: number, bits: 32 | 64): Uint8Array {
  const { around, registers: order, ...own } = CLASSES[bits];
  const word = own.word as CType<ElfWord>;
  const words = around.before + order.length + around.behind;
  const status = new DataView(new ArrayBuffer(words * word.size));
  word.write(status, around.pid * word.size, wide(pid, bits), "pr_pid");
  order.forEach((name, index) => {
    const value = wide(registers[name] ?? 0n, bits);
    word.write(status, (around.before + index) * word.size, value, name);
  });
  const head = Uint32Array.of(NOTE_NAME_SIZE, status.byteLength, NT_PRSTATUS);
  return Uint8Array.of(
    ...new Uint8Array(head.buffer),
    ...new TextEncoder().encode(NOTE_NAME),
    ...new Uint8Array(status.buffer),
  );
}

/** A word of a file of that class. */
function wide(value: ElfWord, bits: 32 | 64): ElfWord {
  const word = BigInt.asUintN(bits, BigInt(value));
  return bits === 64 ? word : Number(word);
}
