import { assemble, type AssembleOptions } from "./assemble.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import { atCaller } from "./call_site.ts";
import type { Image } from "./image.ts";

/** What an {@linkcode AsmSource} is made of. */
export interface AsmSourceInit {
  /** The file it stands in: a path, or the URL of a module that is no local file. */
  readonly file: string;
  /** The line where it begins, from 1. */
  readonly line: number;
  /** Where `%include` and `incbin` look, in this order. */
  readonly folders: readonly string[];
  /** Its text for NASM, with the `%line` directives that say where it comes from. */
  compose(): string;
}

const BITS_DIRECTIVE = /^(?:\[\s*)?(?:bits\s+|use)(16|32|64)\b/i;

/** What may stand before it without making bytes: nothing, a comment, the preprocessor's lines, other directives. */
const MAKES_NO_BYTES =
  /^(?:;|%|\[|(?:org|default|cpu|global|extern|section|segment|absolute)\b|\w+:?\s+equ\b|[.\w]+:\s*(?:;|$)|$)/i;

/** Definitions whose lines make no bytes where they stand. */
const DEFINITION = /^\s*%i?macro\b[^]*?^\s*%endmacro\b|^\s*struc\b[^]*?^\s*endstruc\b/gim;

/**
 * NASM source: an asm literal or an `.asm` file. It is text until it is assembled, since the address it is assembled
 * for depends on the machine that boots it.
 */
export class AsmSource {
  /** The file it stands in: a path, or the URL of a module that is no local file. */
  readonly file: string;
  /** The line where it begins, from 1. */
  readonly line: number;
  /** Where its `%include` and `incbin` look, in this order: the folder of its file first. */
  readonly folders: readonly string[];
  readonly #init: AsmSourceInit;

  /** Made by the `asm` tag and by `asm.file`. */
  constructor(init: AsmSourceInit) {
    this.file = init.file;
    this.line = init.line;
    this.folders = init.folders;
    this.#init = init;
  }

  /**
   * Its text as NASM gets it, with `%line` directives that say where each part comes from. The text of a file is read
   * anew every time.
   *
   * @throws {Deno.errors.NotFound} When its file is not there.
   * @throws {Deno.errors.NotCapable} When its file may not be read.
   */
  get text(): string {
    return this.#init.compose();
  }

  /** The width of code that it begins with, by `bits` or `use16` (…) before its first code; else undefined. */
  get declaredBits(): CodeBits | undefined {
    return declaredBits(this.text);
  }

  /**
   * Assembles it, or takes its image from a cache: the same text for the same origin with the same included files is
   * assembled once.
   *
   * @throws {AssemblyError} When NASM refuses it. The message shows the lines.
   * @throws {HostError} When NASM is missing or too old. The message says how to get it.
   * @throws {RangeError} When an option is out of range, or it makes no bytes.
   * @throws {Deno.errors.NotCapable} When `--allow-run=nasm` or `--allow-ffi` is missing.
   *
   * @example
   * ```ts
   * import { asm } from "@vmexit/vmexit";
   * import { assertEquals } from "@std/assert";
   *
   * const image = asm`
   *     mov si, message
   *     hlt
   *   message: db "hello"
   * `.assemble({ origin: 0x7c00 });
   * assertEquals(image.symbols.message, 0x7c04n);
   * assertEquals(image.bytes[3], 0xf4);
   * ```
   */
  assemble(options: AssembleOptions = {}): Image {
    return atCaller(this.assemble, () => {
      const { text, folders } = this;
      return assemble({ text, folders, declaredBits: declaredBits(text) }, options);
    });
  }
}

/** A directive behind the first code says nothing of how that begins: boot sectors enter other modes on their way. */
function declaredBits(text: string): CodeBits | undefined {
  for (const line of text.replace(DEFINITION, "").split("\n")) {
    const bits = BITS_DIRECTIVE.exec(line.trim())?.[1];
    if (bits !== undefined) return Number(bits) as CodeBits;
    if (!MAKES_NO_BYTES.test(line.trim())) return undefined;
  }
  return undefined;
}
