import { kvm_regs } from "../kvm/abi/structs/regs.ts";
import { kvm_sregs } from "../kvm/abi/structs/sregs.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { GeneralRegisters, SpecialRegisters } from "../x86/cpu_state.ts";

/** One of the two structures that KVM keeps registers in. */
export type RegisterSet = "general" | "special";

const TR_TYPE = kvm_sregs.offsetOf("tr.type");
/** The bit that tells the type of a busy TSS from that of an available one (Intel SDM Vol. 3A, 7.2.2). */
const TSS_BUSY = 0x2;

interface Cached {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  state: "unknown" | "read" | "changed";
}

/**
 * The registers of a stopped vCPU: read from KVM when somebody asks, written back when the vCPU runs on. A
 * run that nobody looks into costs no ioctl for them.
 */
export class RegisterStore {
  readonly #vcpu: Vcpu;
  readonly #tssIsAvailable: boolean;
  readonly #general = cached(kvm_regs.size);
  readonly #special = cached(kvm_sregs.size);

  /**
   * The registers of `vcpu`, none of them read yet.
   *
   * @param tssIsAvailable Whether TR's busy TSS is brought into the vCPU as an available one. On AMD's CPUs
   *   nothing but the emulation of SVM in QEMU tells the two apart: there CPL 3 has no stack for CPL 0 and no
   *   ports with a busy one. KVM gives it back as busy.
   */
  constructor(vcpu: Vcpu, tssIsAvailable = false) {
    this.#vcpu = vcpu;
    this.#tssIsAvailable = tssIsAvailable;
  }

  /** The structure as it is in the vCPU: `struct kvm_regs` or `struct kvm_sregs`. */
  view(set: RegisterSet): DataView<ArrayBuffer> {
    const { state, bytes, view } = this.#cached(set);
    if (state === "unknown") {
      if (set === "general") this.#vcpu.getRegisters(bytes);
      else this.#vcpu.getSpecialRegisters(bytes);
      this.#cached(set).state = "read";
    }
    return view;
  }

  /** The structure, which the caller changes: it is brought into the vCPU by {@linkcode flush}. */
  change(set: RegisterSet): DataView<ArrayBuffer> {
    const view = this.view(set);
    this.#cached(set).state = "changed";
    return view;
  }

  /**
   * Takes the registers that a CPU starts with; those left out are zero. They are brought into the vCPU by
   * {@linkcode flush}.
   */
  load(general: Partial<GeneralRegisters>, special: SpecialRegisters): void {
    kvm_regs.write(this.#general.view, 0, general);
    kvm_sregs.write(this.#special.view, 0, special);
    this.#general.state = "changed";
    this.#special.state = "changed";
  }

  /** Brings changed registers into the vCPU. @throws {KvmError} When KVM refuses them; they stay changed. */
  flush(): void {
    // Special registers first: rflags and rip are judged by the mode that they make.
    if (this.#special.state === "changed") {
      this.#vcpu.setSpecialRegisters(this.#specialToSet());
      this.#special.state = "read";
    }
    if (this.#general.state === "changed") {
      this.#vcpu.setRegisters(this.#general.bytes);
      this.#general.state = "read";
    }
  }

  /** Forgets what was read: the vCPU has run. */
  forget(): void {
    this.#general.state = "unknown";
    this.#special.state = "unknown";
  }

  #specialToSet(): Uint8Array<ArrayBuffer> {
    if (!this.#tssIsAvailable) return this.#special.bytes;
    const bytes = this.#special.bytes.slice();
    bytes[TR_TYPE] &= ~TSS_BUSY;
    return bytes;
  }

  #cached(set: RegisterSet): Cached {
    return set === "general" ? this.#general : this.#special;
  }
}

function cached(size: number): Cached {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer), state: "unknown" };
}
