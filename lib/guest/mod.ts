export * from "./asm.ts";
export { AsmSource, type AsmSourceParts } from "./asm_source.ts";
export type { AssembleOptions } from "./assemble.ts";
export * from "./assembly_error.ts";
export { type Diagnostic, formatDiagnostic } from "./diagnostic.ts";
export {
  disassemble,
  type DisassembleOptions,
  type Disassembly,
  type Instruction,
} from "./disassemble.ts";
export type { ElfOptions } from "./elf.ts";
export * from "./image.ts";
export * from "./image_parts.ts";
export type { AsmValue } from "./interpolation.ts";
export * from "./source_line.ts";
