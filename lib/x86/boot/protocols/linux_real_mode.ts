import { BIOS, LINUX_REAL_MODE } from "../../layout.ts";
import type { CpuState } from "../cpu_state.ts";
import { realMode } from "../modes/real.ts";
import {
  LOAD_FLAG,
  NORMAL_VIDEO,
  placeInitrd,
  SETUP_HEADER,
  setupHeader,
  UNDEFINED_LOADER,
} from "./linux_kernel.ts";
import { BootMemory, cString, type KernelLayout } from "./memory_map.ts";

/** What the set-up code of a Linux kernel is entered with. */
export interface LinuxRealModeLayout extends KernelLayout {
  /** The file's first sectors: boot sector and set-up code, with the setup header. */
  readonly setup: Uint8Array<ArrayBuffer>;
  /** The setup header by itself, with what old ones do not say. */
  readonly header: Uint8Array;
  /** Where the protected-mode kernel was loaded. */
  readonly loadAddress: number;
  /** An initial RAM disk. Default none. */
  readonly initrd?: Uint8Array<ArrayBuffer>;
}

const PARAGRAPH = 16;
const SECTOR = 512;
/** The most that `setup_sects` may be worth: the heap and the stack are above. */
const MOST_SETUP = 0x8000;
/** The first protocol with a pointer to the command line, and a heap up to there. */
const VERSION_COMMAND_LINE = 0x202;

/**
 * The state in which a boot loader enters a Linux kernel's real-mode set-up code (Documentation/arch/x86/boot.rst, "Loading
 * The Rest of The Kernel" and "Running the Kernel"): the code at 0x90000, its heap and stack up to 0x9e000, the command
 * line there, and what the loader has to write in the setup header. The set-up code asks the BIOS for the rest: memory map,
 * screen, disks.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When the protocol is older than 2.02, or there is no room for the set-up code, the command line or
 *   the initrd.
 */
export function linuxRealModeEntry(layout: LinuxRealModeLayout): CpuState {
  const { setup, kernel, loadAddress, initrd, commandLine = "" } = layout;
  const { start, heapEnd } = LINUX_REAL_MODE;
  const code = setup.slice();
  const view = new DataView(code.buffer);
  const { buffer, byteOffset } = layout.header;
  const header = setupHeader.read(new DataView(buffer, byteOffset));
  if (header.version < VERSION_COMMAND_LINE) {
    throw new RangeError(
      `Cannot start the kernel by its set-up code: \`version\` of its boot protocol is 0x${
        header.version.toString(16)
      }, below 2.02`,
    );
  }
  if (code.length > MOST_SETUP) {
    throw new RangeError(
      `Cannot start the kernel by its set-up code: \`setup_sects\` is ${header.setup_sects}, more than fits ${MOST_SETUP} bytes`,
    );
  }
  const text = cString(commandLine);
  const longest = Math.min(header.cmdline_size, BIOS.conventionalEnd - start - heapEnd - 1);
  if (text.length - 1 > longest) {
    throw new RangeError(
      `Cannot give the kernel a command line of ${
        text.length - 1
      } bytes: its set-up code takes ${longest}`,
    );
  }
  const memory = new BootMemory(layout, [
    ...kernel,
    { gpa: start, size: BIOS.conventionalEnd - start },
  ]);
  setupHeader.write(view, SETUP_HEADER, {
    vid_mode: NORMAL_VIDEO,
    type_of_loader: UNDEFINED_LOADER,
    loadflags: header.loadflags | LOAD_FLAG.canUseHeap,
    code32_start: header.code32_start === 0 ? 0 : loadAddress,
    ramdisk_image: placeInitrd(memory, initrd, header.initrd_addr_max),
    ramdisk_size: initrd?.length ?? 0,
    // Counted from the set-up code behind the first sector.
    heap_end_ptr: heapEnd - SECTOR,
    cmd_line_ptr: start + heapEnd,
  });
  const segment = start / PARAGRAPH;
  // deno-fmt-ignore
  const state = realMode({
    cs: segment + SECTOR / PARAGRAPH, ds: segment, es: segment, fs: segment, gs: segment, ss: segment, sp: heapEnd,
  });
  return {
    ...state,
    writes: [
      ...memory.writes,
      { gpa: start, bytes: code, what: "set-up code" },
      { gpa: start + heapEnd, bytes: text, what: "command line" },
    ],
  };
}

/** Where the set-up code is entered: behind its first sector. */
export const LINUX_SETUP_ENTRY: number = LINUX_REAL_MODE.start + SECTOR;
