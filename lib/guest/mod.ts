export type { Address } from "./address.ts";
export { asm, type AsmFileOptions, type AsmOptions, type AsmTag, type AsmValue } from "./asm.ts";
export { AsmSource } from "./asm_source.ts";
export type { AssembleOptions } from "./assemble.ts";
export { AssemblyError, type Diagnostic } from "./diagnostic.ts";
export {
  disassemble,
  type DisassembleOptions,
  type Disassembly,
  type Instruction,
} from "./disassemble.ts";
export type { ElfOptions } from "./elf.ts";
export { Image } from "./image.ts";
export type {
  DebugInformation,
  FlatOptions,
  FrameArguments,
  ImageInit,
  ImageSegment,
  SourceFrame,
  SourceLine,
  StoppedState,
  UnwindRow,
} from "./image_init.ts";
export type { BootProtocol, ImageKind, RomShadow } from "./boot_protocol.ts";
export type { OpenOptions } from "./loaders/open_file.ts";
