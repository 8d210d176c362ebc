import type { KernelSections } from "../x86/boot/protocols/kernel_sections.ts";

/** What a file is, and so how it is started. */
export type ImageKind =
  /** Bytes at an address, with nothing said about them: assembly, or a flat binary. */
  | "flat"
  /** A linked ELF executable, started at its entry in the mode of the test's choice. */
  | "elf"
  /** A kernel with a header of the Multiboot Specification. */
  | "multiboot"
  /** A kernel with a header of the Multiboot2 Specification. */
  | "multiboot2"
  /** An ELF kernel with Xen's note for PVH. */
  | "pvh"
  /** A Linux kernel as its build packs it: bzImage. */
  | "linux"
  /** Firmware: lies below 4 GiB, and starts at the reset vector. */
  | "rom"
  /** A boot sector, or a disk that begins with one. */
  | "boot-sector";

/**
 * What shows the end of firmware below 1 MiB: the ROM, as after reset; or RAM with a copy of it, as the chipset leaves it
 * when firmware has switched shadowing on.
 */
export type RomShadow = "rom" | "ram";

/** How an image is started that says so itself. */
export type BootProtocol =
  | {
    readonly kind: "multiboot";
    /** Whether it asks about its screen. */
    readonly textScreen: boolean;
    /** Its section headers, if it is an ELF file that has any. */
    readonly sections: KernelSections | undefined;
  }
  | {
    readonly kind: "multiboot2";
    /** Whether it asks about its screen. */
    readonly textScreen: boolean;
    /** Its section headers, if it is an ELF file that has any. */
    readonly sections: KernelSections | undefined;
    /** Where it was loaded, if it is relocatable. */
    readonly loadBase: number | undefined;
    /** Types of the tags that it requires. */
    readonly requires: readonly number[];
  }
  | { readonly kind: "pvh" }
  | {
    readonly kind: "linux";
    /** The setup header, from offset 0x1f1 of the file to its end. */
    readonly header: Uint8Array;
    /** Boot sector and set-up code, which is started in real mode. */
    readonly setup: Uint8Array<ArrayBuffer>;
    /** Whether its protected-mode code is an entry point: what only pretends to be Linux may have none. */
    readonly has32BitEntry: boolean;
    /** Whether it has the 64-bit entry point. */
    readonly has64BitEntry: boolean;
    /** Bytes of memory that it takes from its load address on. */
    readonly initSize: number;
  }
  | { readonly kind: "rom"; readonly shadow: RomShadow }
  | {
    readonly kind: "boot-sector";
    /** What a BIOS calls the drive that it comes from: 0x80 for the first disk, 0 for a floppy. */
    readonly drive: number;
  };

/**
 * The error for a file that is damaged, foreign, or not to be loaded: it says which field of which structure is why.
 *
 * @param what The kind of file: "multiboot kernel".
 * @param why With the name of the field.
 */
export function fileError(what: string, why: string): RangeError {
  return new RangeError(`Cannot load the ${what}: ${why}`);
}
