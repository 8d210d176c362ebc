import type { IoctlName } from "../../kvm/abi/ioctls.ts";
import { KVM_STATE_NESTED } from "../../kvm/abi/constants.ts";
import { kvm_lapic_state } from "../../kvm/abi/structs/irqchip.ts";
import { kvm_nested_state } from "../../kvm/abi/structs/nested_state.ts";
import {
  kvm_debugregs,
  kvm_regs,
  kvm_sregs,
  kvm_xcrs,
  kvm_xsave,
} from "../../kvm/abi/structs/registers.ts";
import { kvm_msrs } from "../../kvm/abi/structs/msr.ts";
import { kvm_sync_regs } from "../../kvm/abi/structs/run.ts";
import { kvm_mp_state, kvm_vcpu_events } from "../../kvm/abi/structs/vcpu.ts";
import { putShared, type SharedSet } from "../../kvm/kvm_run_page.ts";
import { buffer, structBytes } from "../../kvm/ioctl_target.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";
import type { RegisterStore } from "../registers/register_store.ts";
import { isEmulated, msrsToSave, offersHyperv } from "./saved_msrs.ts";

/** A CPU whose state is saved and restored. */
export interface StatefulCpu {
  /** Its number. */
  readonly number: number;
  /** The virtual CPU. */
  readonly vcpu: Vcpu;
  /** Its registers. */
  readonly store: RegisterStore;
  /** What it is part of. */
  readonly machine: { readonly kvm: Kvm; readonly irqchip: Irqchip };
}

/** What a CPU's state is made of, which does not change while it lives. */
export interface CpuShape {
  /** Whether it may run a guest hypervisor's guests, by CPUID. */
  readonly isNested: boolean;
  /** Whether it has XCR0, by CPUID. */
  readonly hasXcr0: boolean;
  /** Whether it has Hyper-V's MSRs, by CPUID. */
  readonly isHyperv: boolean;
  /** The MSRs that it has, in the order in which they are set. */
  readonly msrs: readonly number[];
  /** Those beside them that KVM keeps for the guest in all cases, so that an exit alone changes them. */
  readonly emulatedMsrs: readonly number[];
}

/** A piece of a CPU's state, as the kernel gives and takes it. */
export interface CpuPiece {
  /** What it is called in documents and files. */
  readonly name: string;
  /** Reads it; undefined where the CPU has none. */
  save(cpu: StatefulCpu, shape: CpuShape): Uint8Array<ArrayBuffer> | undefined;
  /** Sets it. */
  restore(cpu: StatefulCpu, bytes: Uint8Array<ArrayBuffer>): void;
  /** Whether a guest changes it by an exit alone, in all guests and by all of KVM, so that it is set only behind one. */
  readonly changesByExit?: boolean;
  /** As what of `kvm_run` the next run can set it instead: see {@linkcode Vcpu.takesRegisters}. */
  readonly shared?: SharedSet;
}

/**
 * KVM takes a TSC within a second of what it would be anyway as one that is to be in step with other CPUs, and leaves it
 * as it is (`kvm_synchronize_tsc` in arch/x86/kvm/x86.c). So that of CPU 0 is first set far away, and then as it was; those
 * of the others are in step with it again.
 */
const ANOTHER_TIME = 1n << 40n;

/** Where the value of the first MSR lies. */
const FIRST_MSR = kvm_msrs.offsetOf("entries[0].data");

/**
 * Where the XSAVE area says which components are not as INIT leaves them. The kernel takes MXCSR only with those of SSE or AVX
 * (`copy_uabi_to_xstate` in arch/x86/kernel/fpu/xstate.c), and otherwise keeps what it had.
 */
const XSTATE_BV = 512;
const USE_MXCSR = 0b110;

function xsaveArea({ vcpu: { fpu } }: StatefulCpu): Uint8Array<ArrayBuffer> {
  return fpu.xsaveSize === kvm_xsave.size ? fpu.getXsave() : fpu.getXsave2();
}

/** A piece that is a structure, and goes by two ioctls. */
function structure(
  name: string,
  size: number | ((vcpu: Vcpu) => number),
  get: IoctlName,
  set: IoctlName,
  isThere: (cpu: StatefulCpu, shape: CpuShape) => boolean = () => true,
): CpuPiece {
  return {
    name,
    save(cpu, shape) {
      if (!isThere(cpu, shape)) return undefined;
      const bytes = buffer(typeof size === "number" ? size : size(cpu.vcpu));
      cpu.vcpu.call(get, bytes);
      return bytes;
    },
    restore: ({ vcpu }, bytes) => void vcpu.call(set, bytes),
  };
}

const hasLocalApic = ({ machine }: StatefulCpu) => machine.irqchip !== false;

/** Takes a CPU out of a guest of its guest. */
const OUTSIDE_OF_GUESTS: CpuPiece = {
  name: "outside of nested guests",
  save({ vcpu }, { isNested }) {
    return isNested ? outsideOfGuests(vcpu.nested.getNestedState().format) : undefined;
  },
  restore: ({ vcpu }, bytes) => void vcpu.call("KVM_SET_NESTED_STATE", bytes),
};

/** Segments, tables and control registers. */
const SPECIAL_REGISTERS: CpuPiece = {
  name: "special registers",
  save: ({ store }) => store.toSet("special"),
  restore: ({ vcpu }, bytes) => vcpu.registers.setSregs(bytes),
  shared: "sregs",
};

/** The guest of its guest that it is in. */
const NESTED_GUEST: CpuPiece = {
  name: "nested guest",
  save({ vcpu }, { isNested }) {
    if (!isNested) return undefined;
    const { format, flags, hdr: { vmx, svm }, data } = vcpu.nested.getNestedState();
    const isVmx = format === KVM_STATE_NESTED.FORMAT_VMX;
    const head = structBytes(kvm_nested_state, {
      format,
      flags,
      size: kvm_nested_state.size + data.length,
      hdr: isVmx ? { vmx } : { svm },
    });
    const outside = outsideOfGuests(format);
    // Where it is outside of them, it was taken out already.
    if (data.length === 0 && head.every((byte, index) => byte === outside[index])) {
      return undefined;
    }
    const bytes = buffer(head.length + data.length);
    bytes.set(head);
    bytes.set(data, head.length);
    return bytes;
  },
  restore: ({ vcpu }, bytes) => void vcpu.call("KVM_SET_NESTED_STATE", bytes),
};

/**
 * All of a CPU's state in the order in which it is restored: what a later piece is judged by, or would change, comes
 * before it.
 *
 * - Before all others the CPU is taken out of a guest hypervisor's guest: what is set would go to that guest else.
 * - The special registers make the mode by which RIP and RFLAGS are judged, and hold IA32_APIC_BASE, by which the local
 *   APIC's registers lie one way or the other, and EFER, without whose SVME there are no nested guests.
 * - The general registers come before the events: setting them drops an exception that is pending.
 * - XCR0 comes before the XSAVE area, and so does MXCSR, which makes SSE one that is in use.
 * - The local APIC comes before the MSRs: only in the timer's mode for it is a TSC deadline taken. Among the MSRs the TSC
 *   comes before its deadline, and IA32_FEATURE_CONTROL is there before VMX is on again.
 * - The events come before the nested guest: entering or leaving system-management mode takes a CPU out of it.
 * - The MP state is the last: a CPU that waits takes what has come for it.
 */
export const CPU_PIECES: readonly CpuPiece[] = [
  OUTSIDE_OF_GUESTS,
  SPECIAL_REGISTERS,
  {
    ...structure("general registers", kvm_regs.size, "KVM_GET_REGS", "KVM_SET_REGS"),
    shared: "regs",
  },
  {
    ...structure(
      "XCR0",
      kvm_xcrs.size,
      "KVM_GET_XCRS",
      "KVM_SET_XCRS",
      (_, { hasXcr0 }) => hasXcr0,
    ),
    // XSETBV exits always (Intel SDM Vol. 3C, 26.1.2), and KVM has it exit on AMD, too (init_vmcb in svm/svm.c).
    changesByExit: true,
  },
  {
    // Of a CPU that has not used SSE: what comes next does not bring it in.
    name: "MXCSR",
    save(cpu) {
      const bytes = xsaveArea(cpu);
      if ((bytes[XSTATE_BV] & USE_MXCSR) !== 0) return undefined;
      bytes[XSTATE_BV] |= USE_MXCSR;
      return bytes;
    },
    restore: ({ vcpu }, bytes) => void vcpu.call("KVM_SET_XSAVE", bytes),
  },
  {
    name: "XSAVE area",
    save: xsaveArea,
    restore: ({ vcpu }, bytes) => void vcpu.call("KVM_SET_XSAVE", bytes),
  },
  structure(
    "local APIC",
    kvm_lapic_state.size,
    "KVM_GET_LAPIC",
    "KVM_SET_LAPIC",
    hasLocalApic,
  ),
  {
    name: "MSRs that exits alone change",
    save: ({ vcpu }, { emulatedMsrs }) => vcpu.msrs.getMsrBytes(emulatedMsrs),
    restore: ({ vcpu }, bytes) => vcpu.msrs.setMsrBytes(bytes),
    changesByExit: true,
  },
  {
    name: "MSRs",
    save({ number, vcpu }, { msrs }) {
      if (number > 0) return vcpu.msrs.getMsrBytes(msrs);
      const bytes = vcpu.msrs.getMsrBytes([MSRS.IA32_TSC, ...msrs]);
      const view = new DataView(bytes.buffer);
      const time = view.getBigUint64(FIRST_MSR, true);
      // 0 is what KVM makes of a TSC at first; where a host's stands still, it is that.
      if (time !== 0n) view.setBigUint64(FIRST_MSR, time + ANOTHER_TIME, true);
      return bytes;
    },
    restore: ({ vcpu }, bytes) => vcpu.msrs.setMsrBytes(bytes),
  },
  structure(
    "debug registers",
    kvm_debugregs.size,
    "KVM_GET_DEBUGREGS",
    "KVM_SET_DEBUGREGS",
  ),
  {
    ...structure("events", kvm_vcpu_events.size, "KVM_GET_VCPU_EVENTS", "KVM_SET_VCPU_EVENTS"),
    shared: "events",
  },
  NESTED_GUEST,
  structure(
    "MP state",
    kvm_mp_state.size,
    "KVM_GET_MP_STATE",
    "KVM_SET_MP_STATE",
    hasLocalApic,
  ),
];

/** What takes a CPU out of its hypervisor's guests. */
function outsideOfGuests(format: number): Uint8Array<ArrayBuffer> {
  const isVmx = format === KVM_STATE_NESTED.FORMAT_VMX;
  const nowhere = BigInt.asUintN(64, -1n);
  return structBytes(kvm_nested_state, {
    format,
    flags: isVmx ? 0 : KVM_STATE_NESTED.GIF_SET,
    size: kvm_nested_state.size,
    hdr: isVmx ? { vmx: { vmxon_pa: nowhere, vmcs12_pa: nowhere } } : { svm: {} },
  });
}

/** A CPU's state at some time: its pieces, in the order in which they are restored. */
export type SavedCpuState = readonly (readonly [piece: CpuPiece, bytes: Uint8Array<ArrayBuffer>])[];

/** The leaves of CPUID that say what a CPU's state has, and the bits there in ECX. */
const FEATURES_LEAF = 1;
const EXTENDED_FEATURES_LEAF = 0x8000_0001;
const HAS_VMX = 1 << 5;
const HAS_XSAVE = 1 << 26;
const HAS_SVM = 1 << 2;

/** What a CPU's state is made of. */
export function cpuShape({ vcpu, machine: { kvm } }: StatefulCpu): CpuShape {
  const cpuid = vcpu.cpuid.getCpuid2();
  const has = (leaf: number, bit: number) =>
    cpuid.some((entry) => entry.function === leaf && (entry.ecx & bit) !== 0);
  const isHyperv = offersHyperv(cpuid);
  const msrs = msrsToSave(kvm, vcpu, isHyperv);
  return {
    isNested: has(FEATURES_LEAF, HAS_VMX) || has(EXTENDED_FEATURES_LEAF, HAS_SVM),
    hasXcr0: has(FEATURES_LEAF, HAS_XSAVE),
    isHyperv,
    msrs: msrs.filter((index) => !isEmulated(index)),
    emulatedMsrs: msrs.filter(isEmulated),
  };
}

/** Reads a CPU's state. */
export function saveCpu(cpu: StatefulCpu, shape: CpuShape): SavedCpuState {
  cpu.store.flush();
  return CPU_PIECES.flatMap((piece) => {
    const bytes = piece.save(cpu, shape);
    return bytes === undefined ? [] : [[piece, bytes] as const];
  });
}

/**
 * Sets a CPU's state. What was set of its registers, and not brought into the vCPU, is forgotten.
 *
 * @param isOutside Whether it is known to be in no guest of its guest, nor to have anything to do with one.
 * @param isThere Whether it is known to have what of the state changes by an exit alone.
 */
export function restoreCpu(
  cpu: StatefulCpu,
  state: SavedCpuState,
  { isOutside = false, isThere = false } = {},
): void {
  const atRun = registersAtRun(cpu, state);
  for (const [piece, bytes] of state) {
    if (isOutside && piece === OUTSIDE_OF_GUESTS || isThere && piece.changesByExit) continue;
    if (atRun === undefined || piece.shared === undefined) piece.restore(cpu, bytes);
  }
  cpu.store.forget();
  if (atRun !== undefined) cpu.vcpu.kvmRun.leaveAll(atRun);
}

/**
 * The registers that the next run sets, behind all else, as `struct kvm_sync_regs`. Undefined where they have to be set
 * before: a local APIC of the kernel's lies as IA32_APIC_BASE says, a nested guest hangs on EFER and the events, and addresses
 * in MSRs are judged by CR4.LA57.
 */
function registersAtRun(
  { vcpu, machine }: StatefulCpu,
  state: SavedCpuState,
): Uint8Array | undefined {
  const { nests, hasLa57, shared } = traitsOf(state);
  const canWait = machine.irqchip === false && !nests && !hasLa57 && vcpu.takesRegisters;
  return canWait ? shared : undefined;
}

/** Whether a CPU was in a guest of its guest, or its guest had virtualization switched on: that of SVM has more state. */
export function usesNesting(state: SavedCpuState): boolean {
  return traitsOf(state).nests;
}

/** What is asked of a state at each restore. */
interface Traits {
  readonly nests: boolean;
  readonly hasLa57: boolean;
  /** What can go by `kvm_run`, as a `struct kvm_sync_regs`. */
  readonly shared: Uint8Array;
}

const TRAITS = new WeakMap<SavedCpuState, Traits>();

function traitsOf(state: SavedCpuState): Traits {
  const known = TRAITS.get(state);
  if (known !== undefined) return known;
  const special = state.find(([piece]) => piece === SPECIAL_REGISTERS)?.[1];
  const has = (offset: number, bit: number) =>
    special !== undefined && (special[offset] & bit) !== 0;
  const shared = new Uint8Array(kvm_sync_regs.size);
  for (const [piece, bytes] of state) {
    if (piece.shared !== undefined) putShared(shared, piece.shared, bytes);
  }
  const traits = {
    shared,
    nests: has(EFER_BYTE, SVME) || state.some(([piece]) => piece === NESTED_GUEST),
    hasLa57: has(CR4_BYTE, LA57),
  };
  TRAITS.set(state, traits);
  return traits;
}

/** Where EFER.SVME is: bit 12 (AMD APM Vol. 2, 3.1.7). */
const EFER_BYTE = kvm_sregs.offsetOf("efer") + 1;
const SVME = 1 << 4;

/** Where CR4.LA57 is: bit 12 (Intel SDM Vol. 3A, 2.5). */
const CR4_BYTE = kvm_sregs.offsetOf("cr4") + 1;
const LA57 = 1 << 4;
