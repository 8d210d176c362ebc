import { kvm_debugregs, kvm_regs, kvm_sregs, kvm_xsave } from "../../kvm/abi/structs/registers.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { GeneralRegisters, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import { XsaveArea, type XsaveLayout, xsaveLayout } from "../../x86/registers/xsave.ts";

const TR_TYPE = kvm_sregs.offsetOf("tr.type");
/** The bit that tells the type of a busy TSS from that of an available one (Intel SDM Vol. 3A, 7.2.2). */
const TSS_BUSY = 0x2;

/** The CPUID leaf that has the layout of the XSAVE area. */
const EXTENDED_STATE = 0xd;

/** Where the next instruction is. */
const RIP = kvm_regs.offsetOf("rip");
const CS_BASE = kvm_sregs.offsetOf("cs.base");

/** Where those lie that say how a linear address is translated. */
const CR0 = kvm_sregs.offsetOf("cr0");
const CR3 = kvm_sregs.offsetOf("cr3");
const CR4 = kvm_sregs.offsetOf("cr4");
const EFER = kvm_sregs.offsetOf("efer");

/** Whether it is watched where a CPU goes on; and where that was, of what was set since. */
export interface WatchedPlace {
  readonly isWatched: boolean;
  rip?: bigint;
  csBase?: bigint;
}

interface Cached extends RegisterBytes {
  state: "unknown" | "read" | "changed";
  /** Of a set that was changed: what it was before. */
  before?: DataView<ArrayBuffer>;
}

/**
 * The registers of a stopped vCPU: read from KVM when somebody asks, written back when the vCPU runs on. A
 * run that nobody looks into costs no ioctl for them.
 */
export class RegisterStore {
  readonly #vcpu: Vcpu;
  readonly #tssIsAvailable: boolean;
  /** Those that were asked for once. */
  readonly #sets: Partial<Record<RegisterSet, Cached>> = {};
  /** The same, in the order in which they are set. */
  #inOrder: readonly [RegisterSet, Cached][] = [];
  /** Whether there is anything to be brought into the vCPU, or to be forgotten. */
  #isTouched = false;
  #layout: XsaveLayout | undefined;
  #timesSet = 0;
  #place: WatchedPlace = { isWatched: false };
  /** CPUID is not asked for what lies in the legacy region. */
  readonly #lazyLayout: XsaveLayout;
  /** What the sets that {@linkcode atomically} has changed so far were before. */
  #before: Map<RegisterSet, Uint8Array> | undefined;

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
    const layout = () => this.xsaveLayout;
    this.#lazyLayout = {
      get supported() {
        return layout().supported;
      },
      get components() {
        return layout().components;
      },
    };
  }

  /** The set as it is in the vCPU. */
  view(set: RegisterSet): DataView<ArrayBuffer> {
    return this.#read(set).view;
  }

  /** The registers by which a linear address is translated, whole. */
  get paging(): Readonly<Record<"cr0" | "cr3" | "cr4" | "efer", bigint>> {
    const view = this.view("special");
    return {
      cr0: view.getBigUint64(CR0, true),
      cr3: view.getBigUint64(CR3, true),
      cr4: view.getBigUint64(CR4, true),
      efer: view.getBigUint64(EFER, true),
    };
  }

  /** The set, which the caller changes: it is brought into the vCPU by {@linkcode flush}. */
  change(set: RegisterSet): DataView<ArrayBuffer> {
    return this.#change(set).view;
  }

  /** How often registers were set so far; giving the vCPU itself away counts, since it may set them. */
  get timesSet(): number {
    return this.#timesSet;
  }

  /** Whether it was set, and not brought into the vCPU, where the CPU goes on. */
  get movesInstructionPointer(): boolean {
    return this.#isMoved("general", RIP) || this.#isMoved("special", CS_BASE);
  }

  /**
   * Begins to watch where the CPU goes on, or ends that. Nothing is read: what it was is known once it is about to change.
   */
  watchPlace(isWatched: boolean): void {
    this.#place = { isWatched };
  }

  /** Whether registers that were set since let it go on elsewhere. */
  get hasLeftPlace(): boolean {
    const { rip, csBase } = this.#place;
    return rip !== undefined && this.view("general").getBigUint64(RIP, true) !== rip ||
      csBase !== undefined && this.view("special").getBigUint64(CS_BASE, true) !== csBase;
  }

  /** What is watched, for {@linkcode RegisterStore.restorePlace}. */
  savePlace(): WatchedPlace {
    return { ...this.#place };
  }

  /** Watches what was watched then. */
  restorePlace(place: WatchedPlace): void {
    this.#place = { ...place };
  }

  /** The XSAVE area as it is in the vCPU. */
  xsave(): XsaveArea {
    return new XsaveArea(this.#read("xsave").bytes, this.#lazyLayout);
  }

  /** The XSAVE area, which the caller changes. */
  changeXsave(): XsaveArea {
    return new XsaveArea(this.#change("xsave").bytes, this.#lazyLayout);
  }

  /** Where the XSAVE area has what: as the vCPU's CPUID tells. */
  get xsaveLayout(): XsaveLayout {
    return this.#layout ??= xsaveLayout(
      this.#vcpu.cpuid.getCpuid2().filter((entry) => entry.function === EXTENDED_STATE),
    );
  }

  /**
   * Takes the registers that a CPU starts with; those left out are zero. They are brought into the vCPU by
   * {@linkcode flush}.
   */
  load(general: Partial<GeneralRegisters>, special: SpecialRegisters): void {
    const sets = { general: this.#cached("general"), special: this.#cached("special") };
    for (const cached of Object.values(sets)) {
      cached.bytes.fill(0);
      cached.state = "changed";
    }
    kvm_regs.write(sets.general.view, 0, general);
    kvm_sregs.write(sets.special.view, 0, special);
    this.#touch();
  }

  /** Runs `body`. Where it throws, the registers that it has changed are what they were before. */
  atomically(body: () => void): void {
    this.#before = new Map();
    try {
      body();
    } catch (error) {
      for (const [set, bytes] of this.#before) this.#cached(set).bytes.set(bytes);
      throw error;
    } finally {
      this.#before = undefined;
    }
  }

  /** A copy of a set as it is in the vCPU, to be set again. */
  toSet(set: RegisterSet): Uint8Array<ArrayBuffer> {
    const found = this.#read(set);
    return (set === "special" ? this.#specialToSet(found) : found).bytes.slice();
  }

  /** Brings changed registers into the vCPU. @throws {KvmError} When KVM refuses them; they stay changed. */
  flush(): void {
    if (!this.#isTouched) return;
    for (let index = 0; index < this.#inOrder.length; index++) {
      const [set, cached] = this.#inOrder[index];
      if (cached.state !== "changed") continue;
      registerSets[set].write(this.#vcpu, set === "special" ? this.#specialToSet(cached) : cached);
      cached.state = "read";
    }
  }

  /** Whether some were read, or set, since the vCPU ran. */
  get isTouched(): boolean {
    return this.#isTouched;
  }

  /** Forgets what was read: the vCPU has run. */
  forget(): void {
    if (!this.#isTouched) return;
    for (let index = 0; index < this.#inOrder.length; index++) {
      this.#inOrder[index][1].state = "unknown";
    }
    this.#isTouched = false;
  }

  /** Forgets what CPUID told as well: somebody else may have set it. */
  forgetAll(): void {
    this.#notePlace("general");
    this.#notePlace("special");
    this.forget();
    this.#layout = undefined;
    this.#timesSet++;
  }

  /** There is something to be done before the vCPU runs on. */
  #touch(): void {
    this.#isTouched = this.#vcpu.needsAttention = true;
  }

  #read(set: RegisterSet): Cached {
    const cached = this.#cached(set);
    if (cached.state === "unknown") {
      registerSets[set].read(this.#vcpu, cached);
      cached.state = "read";
      this.#touch();
    }
    return cached;
  }

  #change(set: RegisterSet): Cached {
    const cached = this.#read(set);
    this.#notePlace(set);
    if (cached.state === "read") cached.before = new DataView(cached.bytes.slice().buffer);
    if (this.#before !== undefined && !this.#before.has(set)) {
      this.#before.set(set, cached.bytes.slice());
    }
    cached.state = "changed";
    this.#timesSet++;
    return cached;
  }

  /** Notes where the CPU would go on, before a set changes. */
  #notePlace(set: RegisterSet): void {
    const place = this.#place;
    if (!place.isWatched) return;
    if (set === "general") place.rip ??= this.view("general").getBigUint64(RIP, true);
    if (set === "special") place.csBase ??= this.view("special").getBigUint64(CS_BASE, true);
  }

  #isMoved(set: "general" | "special", offset: number): boolean {
    const { state, view, before } = this.#sets[set] ?? {};
    if (state !== "changed" || before === undefined) return false;
    return view!.getBigUint64(offset, true) !== before.getBigUint64(offset, true);
  }

  #specialToSet(special: RegisterBytes): RegisterBytes {
    if (!this.#tssIsAvailable) return special;
    const set = registerBytes(special.bytes.slice());
    set.bytes[TR_TYPE] &= ~TSS_BUSY;
    return set;
  }

  #cached(set: RegisterSet): Cached {
    const found = this.#sets[set];
    if (found !== undefined) return found;
    const bytes = new Uint8Array(registerSets[set].size(this.#vcpu));
    const made: Cached = { ...registerBytes(bytes), state: "unknown" };
    this.#sets[set] = made;
    const names = Object.keys(registerSets) as RegisterSet[];
    this.#inOrder = names.flatMap((name) => {
      const cached = this.#sets[name];
      return cached === undefined ? [] : [[name, cached] as [RegisterSet, Cached]];
    });
    return made;
  }
}

function registerBytes(bytes: Uint8Array<ArrayBuffer>): RegisterBytes {
  return { bytes, view: new DataView(bytes.buffer) };
}

/**
 * What KVM keeps registers in: `struct kvm_regs`, `struct kvm_sregs`, the XSAVE area, XCR0 (its 8 bytes), and
 * `struct kvm_debugregs`.
 */
export type RegisterSet = "general" | "special" | "xsave" | "xcr0" | "debug";

/** The bytes of a set. */
interface RegisterBytes {
  /** The bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same, for numbers. */
  readonly view: DataView<ArrayBuffer>;
}

/** How a set is read and set. */
interface RegisterSetAccess {
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
const registerSets: Readonly<Record<RegisterSet, RegisterSetAccess>> = {
  special: {
    size: () => kvm_sregs.size,
    read: (vcpu, { bytes }) => vcpu.registers.getSregs(bytes),
    write: (vcpu, { bytes }) => vcpu.registers.setSregs(bytes),
  },
  general: {
    size: () => kvm_regs.size,
    read: (vcpu, { bytes }) => vcpu.registers.getRegs(bytes),
    // KVM refuses none of them, so that there is no error that would come late.
    write: ({ takesRegisters, registers }, { bytes }) =>
      takesRegisters ? registers.leaveRegs(bytes) : registers.setRegs(bytes),
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
