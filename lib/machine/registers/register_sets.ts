import { kvm_debugregs } from "../../kvm/abi/structs/debug.ts";
import { kvm_xsave } from "../../kvm/abi/structs/fpu.ts";
import { kvm_regs } from "../../kvm/abi/structs/regs.ts";
import { kvm_sregs } from "../../kvm/abi/structs/sregs.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/**
 * What KVM keeps registers in: `struct kvm_regs`, `struct kvm_sregs`, the XSAVE area, XCR0 (its 8 bytes), and
 * `struct kvm_debugregs`.
 */
export type RegisterSet = "general" | "special" | "xsave" | "xcr0" | "debug";

/** The bytes of a set. */
export interface RegisterBytes {
  /** The bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same, for numbers. */
  readonly view: DataView<ArrayBuffer>;
}

/** How a set is read and set. */
export interface RegisterSetAccess {
  /** Bytes that it has on this host. */
  size(vcpu: Vcpu): number;
  /** Reads what the vCPU has. */
  read(vcpu: Vcpu, into: RegisterBytes): void;
  /** Sets what the vCPU has. */
  write(vcpu: Vcpu, from: RegisterBytes): void;
}

const XCR0_SIZE = 8;
/** The number of XCR0 among the extended control registers. */
const XCR0 = 0;

/**
 * The sets in the order in which they are set: the special registers before the general ones, because rip and
 * rflags are judged by the mode that they make.
 */
export const registerSets: Readonly<Record<RegisterSet, RegisterSetAccess>> = {
  special: {
    size: () => kvm_sregs.size,
    read: (vcpu, { bytes }) => vcpu.registers.getSregs(bytes),
    write: (vcpu, { bytes }) => vcpu.registers.setSregs(bytes),
  },
  general: {
    size: () => kvm_regs.size,
    read: (vcpu, { bytes }) => vcpu.registers.getRegs(bytes),
    write: (vcpu, { bytes }) => vcpu.registers.setRegs(bytes),
  },
  xcr0: {
    size: () => XCR0_SIZE,
    read: (vcpu, { view }) => {
      const found = vcpu.fpu.getXcrs().xcrs.find(({ xcr }) => xcr === XCR0)!;
      view.setBigUint64(0, found.value, true);
    },
    write: (vcpu, { view }) => vcpu.fpu.setXcrs([{ xcr: XCR0, value: view.getBigUint64(0, true) }]),
  },
  xsave: {
    size: (vcpu) => vcpu.fpu.xsaveSize,
    read: (vcpu, { bytes }) => {
      // A kernel before KVM_GET_XSAVE2 has no state beyond what KVM_GET_XSAVE gives.
      const isPlain = bytes.length === kvm_xsave.size;
      bytes.set(isPlain ? vcpu.fpu.getXsave() : vcpu.fpu.getXsave2());
    },
    write: (vcpu, { bytes }) => vcpu.fpu.setXsave(bytes),
  },
  debug: {
    size: () => kvm_debugregs.size,
    read: (vcpu, { view }) => kvm_debugregs.write(view, 0, vcpu.registers.getDebugregs()),
    write: (vcpu, { view }) => vcpu.registers.setDebugregs(kvm_debugregs.read(view)),
  },
};
