import type { AsmSource } from "../../guest/asm_source.ts";
import type { Image } from "../../guest/image.ts";

/** What can be booted: assembly, or an image made before. */
export type Guest = AsmSource | Image;
