import { linuxEntry, type LinuxLayout } from "./protocols/linux.ts";
import { unikernelEntry, type UnikernelLayout } from "./protocols/unikernel.ts";
import type { CpuState, Mode } from "./cpu_state.ts";
import { LINUX, LOW_PROTECTED_MODE, PROTECTED_MODE, REAL_MODE } from "../layout.ts";
import {
  type CompatibilityLayout,
  compatibilityMode,
  type LongLayout,
  longMode,
} from "./modes/long.ts";
import {
  type PaeLayout,
  paeMode,
  type PagedLayout,
  pagedMode,
  type Protected16Layout,
  protected16Mode,
  type ProtectedLayout,
  protectedMode,
} from "./modes/protected.ts";
import { type RealLayout, realMode, type UnrealLayout, unrealMode } from "./modes/real.ts";
import { type Virtual8086Layout, virtual8086Mode } from "./modes/virtual8086.ts";

/**
 * The states in which 64-bit code is entered by convention: `"linux"` is that of the kernel's
 * Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL".
 */
export type Convention =
  /** All general registers but RSP are zero. */
  | "plain"
  /** {@linkcode linuxEntry}. */
  | "linux"
  /** {@linkcode unikernelEntry}. */
  | "unikernel";

/** A mode, and what its boot state is told. */
export type BootLayout =
  | RealLayout & { mode: "real" }
  | UnrealLayout & { mode: "unreal" }
  | Protected16Layout & { mode: "protected16" }
  | ProtectedLayout & { mode: "protected" }
  | PagedLayout & { mode: "paged" }
  | PaeLayout & { mode: "pae" }
  | Virtual8086Layout & { mode: "virtual8086" }
  | CompatibilityLayout & { mode: "compatibility" }
  | LongLayout & { mode: "long"; convention?: "plain" }
  | LinuxLayout & { mode: "long"; convention: "linux" }
  | UnikernelLayout & { mode: "long"; convention: "unikernel" };

/** What a mode, or a convention, begins with where a guest says nothing. */
export interface ModeDefaults {
  /** How wide code is. */
  readonly bits: 16 | 32 | 64;
  /** Where code is loaded and starts. */
  readonly code: number;
  /** Bytes of memory. */
  readonly memorySize: number;
}

const IN_PROTECTED_MODE = {
  code: PROTECTED_MODE.code,
  memorySize: PROTECTED_MODE.memorySize,
};
const IN_REAL_MODE = { bits: 16, code: REAL_MODE.code, memorySize: REAL_MODE.memorySize } as const;
const IN_LOW_MEMORY = {
  bits: 16,
  code: LOW_PROTECTED_MODE.code,
  memorySize: LOW_PROTECTED_MODE.memorySize,
} as const;

/** The defaults of each mode. */
export const modeDefaults: Readonly<Record<Mode, ModeDefaults>> = {
  real: IN_REAL_MODE,
  unreal: IN_REAL_MODE,
  protected16: IN_LOW_MEMORY,
  protected: { bits: 32, ...IN_PROTECTED_MODE },
  paged: { bits: 32, ...IN_PROTECTED_MODE },
  pae: { bits: 32, ...IN_PROTECTED_MODE },
  virtual8086: IN_LOW_MEMORY,
  compatibility: { bits: 32, ...IN_PROTECTED_MODE },
  long: { bits: 64, ...IN_PROTECTED_MODE },
};

/** The defaults of each convention for 64-bit code. */
export const conventionDefaults: Readonly<Record<Convention, ModeDefaults>> = {
  plain: modeDefaults.long,
  linux: { bits: 64, code: LINUX.code, memorySize: LINUX.memorySize },
  unikernel: modeDefaults.long,
};

/**
 * The state in which a CPU starts in the given mode: what to load into its registers and into memory.
 *
 * @param layout The mode or convention, and what its boot state can be told; all but the mode has defaults.
 * @throws {RangeError} When the layout cannot be; see the function of each mode.
 * @example
 * ```ts
 * import { bootState } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(bootState({ mode: "protected" }).registers.rip, 0x1_0000n);
 * assertEquals(bootState({ mode: "long", convention: "linux" }).registers.rip, 0x10_0000n);
 * ```
 */
export function bootState(layout: BootLayout): CpuState {
  switch (layout.mode) {
    case "real":
      return realMode(layout);
    case "unreal":
      return unrealMode(layout);
    case "protected16":
      return protected16Mode(layout);
    case "protected":
      return protectedMode(layout);
    case "paged":
      return pagedMode(layout);
    case "pae":
      return paeMode(layout);
    case "virtual8086":
      return virtual8086Mode(layout);
    case "compatibility":
      return compatibilityMode(layout);
    case "long":
      return longEntry(layout);
  }
}

function longEntry(layout: BootLayout & { mode: "long" }): CpuState {
  switch (layout.convention) {
    case "linux":
      return linuxEntry(layout);
    case "unikernel":
      return unikernelEntry(layout);
    default:
      return longMode(layout);
  }
}
