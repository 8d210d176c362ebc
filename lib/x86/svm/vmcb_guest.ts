import type { Writable } from "../../ffi/struct.ts";
import type { CpuState } from "../boot/cpu_state.ts";
import { RFLAGS_ALWAYS_SET } from "../registers/flag_tables.ts";
import { eferFlags } from "../registers/flag_tables.ts";
import { flagsToValue } from "../registers/flags.ts";
import type { VmcbSaveArea } from "./vmcb_save_area.ts";
import { segmentToVmcb } from "./vmcb_segment.ts";

/** What DR6 and DR7 hold after reset (AMD APM Vol. 2, 13.1.1). */
const DR6_RESET = 0xffff_0ff0n;
const DR7_RESET = 0x400n;
/** The page attribute table after reset (AMD APM Vol. 2, 7.8.1). */
const PAT_RESET = 0x0007_0406_0007_0406n;
/** VMRUN refuses a guest without it (AMD APM Vol. 2, 15.5.1). */
const SVME = flagsToValue(eferFlags, { svme: true });

/**
 * The VMCB's save area for a guest that starts in this state: any of {@linkcode bootState}'s, so that a guest
 * hypervisor's guest begins in any mode. EFER gets SVME, which VMRUN asks for. Of the general registers a
 * VMCB holds RAX, RSP, RIP and RFLAGS; the hypervisor must load the others itself. The state's `writes`
 * belong into the guest's memory.
 *
 * @example
 * ```ts
 * import { vmcbGuest } from "./vmcb_guest.ts";
 * import { readVmcb, vmcb, writeVmcb } from "./vmcb.ts";
 * import { realMode } from "../boot/modes/real.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array(vmcb.size);
 * writeVmcb(bytes, { save: vmcbGuest(realMode({ entry: 0x7c00 })) });
 * assertEquals(readVmcb(bytes).save.rip, 0x7c00n);
 * ```
 */
export function vmcbGuest(
  { registers, specialRegisters: special }: Pick<CpuState, "registers" | "specialRegisters">,
): Writable<VmcbSaveArea> {
  return {
    es: segmentToVmcb(special.es),
    cs: segmentToVmcb(special.cs),
    ss: segmentToVmcb(special.ss),
    ds: segmentToVmcb(special.ds),
    fs: segmentToVmcb(special.fs),
    gs: segmentToVmcb(special.gs),
    gdtr: { selector: 0, attrib: 0, ...special.gdt },
    ldtr: segmentToVmcb(special.ldt),
    idtr: { selector: 0, attrib: 0, ...special.idt },
    tr: segmentToVmcb(special.tr),
    cpl: special.ss.dpl,
    efer: special.efer | SVME,
    cr4: special.cr4,
    cr3: special.cr3,
    cr2: special.cr2,
    cr0: special.cr0,
    dr7: DR7_RESET,
    dr6: DR6_RESET,
    rflags: registers.rflags ?? RFLAGS_ALWAYS_SET,
    rip: registers.rip ?? 0n,
    rsp: registers.rsp ?? 0n,
    rax: registers.rax ?? 0n,
    g_pat: PAT_RESET,
  };
}
