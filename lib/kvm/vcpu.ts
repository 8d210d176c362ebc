import { ERRNO } from "../ffi/errors.ts";
import type { Libc, Pages } from "../ffi/libc.ts";
import { Mapping } from "../ffi/handles.ts";
import { KVM_SYNC_X86 } from "./abi/constants.ts";
import { CAPABILITIES, type CapabilityName } from "./abi/capabilities.ts";
import { EXIT_REASON } from "./abi/exit_reasons.ts";
import { type IoctlName, IOCTLS } from "./abi/ioctls.ts";
import { kvm_guest_debug } from "./abi/structs/registers.ts";
import { kvm_run } from "./abi/structs/run.ts";
import { kvm_pre_fault_memory } from "./abi/structs/memory.ts";
import { kvm_enable_cap, kvm_signal_mask } from "./abi/structs/vcpu.ts";
import { CoalescedRing } from "./coalesced_ring.ts";
import { DirtyRing } from "./dirty_ring.ts";
import { DeviceAttributes } from "./device.ts";
import {
  type AskedOfKvm,
  ioctl,
  type IoctlObserver,
  IoctlTarget,
  KvmFd,
  structBytes,
} from "./ioctl_target.ts";
import { KvmError } from "./errors.ts";
import { KvmRunPage, type SharedSet } from "./kvm_run_page.ts";
import { StatsFd } from "./stats_fd.ts";
import { VcpuApic, VcpuEvents } from "./vcpu/vcpu_events.ts";
import { VcpuClock } from "./vcpu/vcpu_clock.ts";
import { VcpuCpuid } from "./vcpu/vcpu_cpuid.ts";
import { VcpuFpu } from "./vcpu/vcpu_fpu.ts";
import { VcpuMsrs } from "./vcpu/vcpu_msrs.ts";
import { VcpuNested } from "./vcpu/vcpu_nested.ts";
import { VcpuRegisters } from "./vcpu/vcpu_registers.ts";
import { VcpuXen } from "./xen.ts";

const KVM_RUN = IOCTLS.KVM_RUN.number;

const UNKNOWN = EXIT_REASON.UNKNOWN;
const REASON_WORD = kvm_run.offsetOf("exit_reason") / Uint32Array.BYTES_PER_ELEMENT;

/**
 * Ioctls that leave all of a vCPU's state as it is, but for the registers, the XSAVE area, the debug registers and
 * the events that they are about.
 */
const PLAIN_IOCTLS: ReadonlySet<IoctlName> = new Set<IoctlName>([
  ...(Object.keys(IOCTLS) as IoctlName[]).filter((name) => name.startsWith("KVM_GET_")),
  "KVM_SET_REGS",
  "KVM_SET_SREGS",
  "KVM_SET_XSAVE",
  "KVM_SET_DEBUGREGS",
  "KVM_SET_VCPU_EVENTS",
  "KVM_INTERRUPT",
  "KVM_NMI",
  "KVM_TRANSLATE",
]);

/** How what is left in `kvm_run` goes to the kernel before a run. */
const LEFT_BY_IOCTL: readonly (readonly [SharedSet, IoctlName])[] = [
  ["sregs", "KVM_SET_SREGS"],
  ["regs", "KVM_SET_REGS"],
  ["events", "KVM_SET_VCPU_EVENTS"],
];

/** Of the kernels that were asked. */
const TAKES_REGISTERS = new WeakMap<Libc, boolean>();

/** Bytes of the kernel's `sigset_t`; libc's is longer. */
const SIGNAL_SET_SIZE = 8;

/** A vCPU between two owners. */
export interface GivenVcpu {
  /** Its descriptor. */
  readonly fd: number;
  /** Its id. */
  readonly id: number;
  /** Where its `kvm_run` is mapped; undefined of one that was just created. */
  readonly kvmRun?: bigint;
  /** The capabilities that were found; undefined of one that was just created. */
  readonly present?: Set<CapabilityName>;
}

/**
 * One virtual CPU: the file descriptor that `KVM_CREATE_VCPU` returned, and the `kvm_run` structure that
 * the kernel shares through it. The kernel wants its ioctls from the thread that made it
 * (Documentation/virt/kvm/api.rst, 1).
 *
 * Its ioctls that are not here are grouped by what they are about; each method has the ioctl's name in
 * camel case. Those that are gated by a capability throw a {@linkcode CapabilityError} where the kernel
 * lacks it.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * using vcpu = vm.createVcpu(0);
 * vcpu.fpu.setFpu({ ...vcpu.fpu.getFpu(), fcw: 0x37f });
 * ```
 */
export class Vcpu implements Disposable {
  readonly #libc: Libc;
  readonly #fd: KvmFd;
  readonly #mapping: Mapping;
  /** Its `kvm_run` as words, and its descriptor, for {@linkcode Vcpu.run}; less than 0 once it is disposed. */
  readonly #words: Uint32Array;
  #runFd: number;
  /** Keeps the VM's memory from being collected: the kernel writes to it as long as a vCPU can run. */
  readonly memory: ReadonlyMap<number, Pages>;
  /** The id that the VM gave it. */
  readonly id: number;
  /** The structure in which the kernel says why the guest was left. */
  readonly kvmRun: KvmRunPage;
  /** The writes that made no exits: those of all the VM's vCPUs. */
  readonly coalescedRing: CoalescedRing;
  /**
   * Set by whoever has something to do before the vCPU runs on, or waits for one of its exits; taken back by what runs it
   * and, until then, asks nobody.
   */
  needsAttention = false;
  /**
   * Finishes the latest exit, which was left unfinished because nobody may look at what it has done. Called before any
   * ioctl but `KVM_RUN`; undefined where there is no such exit.
   */
  unfinished: (() => void) | undefined;
  #stateChanges = 0;
  readonly #target: IoctlTarget;
  readonly #dirtyRingSize: number;
  #isShared = false;
  #hasFailed = false;
  /** Registers, as structures. */
  readonly registers: VcpuRegisters;
  /** Floating-point and vector state. */
  readonly fpu: VcpuFpu;
  /** Model-specific registers. */
  readonly msrs: VcpuMsrs;
  /** What CPUID answers. */
  readonly cpuid: VcpuCpuid;
  /** Interrupts, exceptions, NMIs, SMIs, machine checks, and whether it runs. */
  readonly events: VcpuEvents;
  /** The local APIC that the kernel keeps. */
  readonly apic: VcpuApic;
  /** The TSC and kvmclock. */
  readonly clock: VcpuClock;
  /** The virtualization inside the guest. */
  readonly nested: VcpuNested;
  /** For Xen guests. */
  readonly xen: VcpuXen;
  /**
   * Attributes of the vCPU, gated by KVM_CAP_VCPU_ATTRIBUTES; {@linkcode VcpuClock} has the one that x86
   * knows, the TSC offset.
   */
  readonly attributes: DeviceAttributes;

  /** Use {@linkcode Vm.createVcpu}. Takes ownership of the descriptor, and closes it when the mapping fails. */
  constructor(
    libc: Libc,
    { fd, id, kvmRun, present }: GivenVcpu,
    mmapSize: number,
    memory: ReadonlyMap<number, Pages>,
    ask: (name: CapabilityName) => number,
    dirtyRingSize: number = 0,
  ) {
    using cleanup = new DisposableStack();
    this.#libc = libc;
    this.id = id;
    this.#dirtyRingSize = dirtyRingSize;
    this.memory = memory;
    this.#fd = cleanup.use(new KvmFd(libc, fd, `vCPU ${id}`));
    this.#runFd = fd;
    this.#mapping = cleanup.use(
      new Mapping(libc, fd, mmapSize, `kvm_run of vCPU ${id}`, 0, kvmRun),
    );
    // The kernel reads some of it, and nobody is to see what another has left there.
    if (kvmRun !== undefined) this.#mapping.bytes.fill(0);
    this.#words = this.#mapping.words;
    this.kvmRun = new KvmRunPage(this.#mapping);
    this.coalescedRing = new CoalescedRing(this.#mapping);
    const target = new IoctlTarget(libc, this.#fd, ask, present, (name) => {
      this.unfinished?.();
      if (this.kvmRun.hasLeft) this.#bringLeft();
      if (!PLAIN_IOCTLS.has(name)) this.#stateChanges++;
    });
    this.#target = target;
    this.registers = new VcpuRegisters(target, this.kvmRun);
    this.fpu = new VcpuFpu(target);
    this.msrs = new VcpuMsrs(target);
    this.cpuid = new VcpuCpuid(target);
    this.events = new VcpuEvents(target);
    this.apic = new VcpuApic(target);
    this.attributes = new DeviceAttributes(target, "KVM_CAP_VCPU_ATTRIBUTES");
    this.clock = new VcpuClock(target, this.attributes);
    this.nested = new VcpuNested(target);
    this.xen = new VcpuXen(target);
    cleanup.move();
  }

  /**
   * Its descriptor, for another thread of this process that enters the guest, by `KVM_RUN` on it.
   *
   * @throws {TypeError} Once it is disposed.
   */
  get fd(): number {
    this.#isShared = true;
    if (this.kvmRun.hasLeft) this.#bringLeft();
    return this.#fd.number;
  }

  /**
   * Enters the guest until its next exit.
   *
   * @returns 0 when {@linkcode Vcpu.kvmRun} holds an exit, or EINTR when a signal, or `immediateExit`,
   *   ended the call: it is never retried here, or nothing could stop the vCPU. EAGAIN when it waited for a SIPI
   *   inside the call, and has had one: the next call runs it.
   * @throws {KvmError} On every other errno. KVM_EXIT_MEMORY_FAULT is an exit, although the ioctl fails
   *   with it.
   */
  run(): number {
    // Where it is disposed, this throws: the words are not there any more.
    const fd = this.#runFd < 0 ? this.#fd.number : this.#runFd;
    // A run that fails must not be mistaken for the exit before it.
    this.#words[REASON_WORD] = UNKNOWN;
    return this.#libc.ioctl(fd, KVM_RUN, 0) === 0 ? 0 : this.#runFailed();
  }

  /**
   * Whether registers can be left in `kvm_run`, for KVM to take them at the next run (`KVM_CAP_SYNC_REGS`, api.rst 6): two
   * or three calls of the kernel less. Whoever looks meanwhile sees them, as every ioctl does.
   */
  get takesRegisters(): boolean {
    const known = TAKES_REGISTERS.get(this.#libc);
    if (known !== undefined) return known;
    const sets = this.#target.capability("KVM_CAP_SYNC_REGS");
    const takes = (BigInt(sets) & KVM_SYNC_X86.VALID_FIELDS) === KVM_SYNC_X86.VALID_FIELDS;
    TAKES_REGISTERS.set(this.#libc, takes);
    return takes;
  }

  /** Brings what is left in `kvm_run` into the vCPU before it runs: in the order of ioctls, where the mode comes first. */
  #bringLeft(): void {
    for (const [set, name] of LEFT_BY_IOCTL) {
      const bytes = this.kvmRun.takeBack(set);
      if (bytes !== undefined) ioctl(this.#libc, this.#fd, name, bytes, `on vCPU ${this.id}`);
    }
  }

  #runFailed(): number {
    const errno = this.#libc.errno();
    if (errno === ERRNO.EINTR || errno === ERRNO.EAGAIN) return errno;
    if (this.kvmRun.exitReason === EXIT_REASON.MEMORY_FAULT) return 0;
    this.#hasFailed = true;
    throw new KvmError("KVM_RUN", errno, `on vCPU ${this.id}`);
  }

  /**
   * Makes one of its ioctls, for state that is kept and given back as it is.
   *
   * @param argument The structure, which the kernel takes, or fills; or a number by value.
   * @returns What it returned.
   * @throws {CapabilityError} When the kernel lacks the capability.
   * @throws {KvmError} When it refuses.
   */
  call(name: IoctlName, argument: number | Uint8Array<ArrayBuffer>): number {
    return this.#target.call(name, argument);
  }

  /** Lets somebody hear of each of its ioctls but `KVM_RUN`; undefined: nobody. */
  set observer(observer: IoctlObserver | undefined) {
    this.#target.observer = observer;
  }

  /**
   * How many ioctls were made on it that may have changed its state beyond registers, the XSAVE area, debug registers
   * and events: MSRs, XCR0.
   */
  get stateChanges(): number {
    return this.#stateChanges;
  }

  /**
   * Sets what ends in a DEBUG exit (`KVM_SET_GUEST_DEBUG`, api.rst 4.87).
   *
   * @param control Flags of `KVM_GUESTDBG`.
   * @param debugreg DR0 to DR7, which `KVM_GUESTDBG.USE_HW_BP` puts in force; those left out are 0.
   */
  setGuestDebug(control: number, debugreg: readonly (number | bigint)[] = []): void {
    const bytes = structBytes(kvm_guest_debug, { control, arch: { debugreg } });
    this.#target.call("KVM_SET_GUEST_DEBUG", bytes, { capability: null });
  }

  /**
   * Switches a capability of vCPUs on (`KVM_ENABLE_CAP`, api.rst 4.37 and 6).
   *
   * @param args As that capability takes them, up to 4.
   * @throws {CapabilityError} When the kernel lacks the capability.
   * @throws {KvmError} When it refuses the arguments, or the capability is one of VMs.
   */
  enableCap(name: CapabilityName, ...args: readonly (number | bigint)[]): void {
    const value = { cap: CAPABILITIES[name].number, args };
    this.#target.set("KVM_ENABLE_CAP", kvm_enable_cap, value, { capability: name, context: name });
  }

  /**
   * Sets which signals are blocked while the guest runs (`KVM_SET_SIGNAL_MASK`, api.rst 4.21).
   *
   * @param signals A bit a signal, signal 1 in bit 0. Undefined: those of the thread, as without a call.
   */
  setSignalMask(signals: bigint | undefined): void {
    if (signals === undefined) {
      this.#target.call("KVM_SET_SIGNAL_MASK", 0);
      return;
    }
    const sigset = new Uint8Array(SIGNAL_SET_SIZE);
    new DataView(sigset.buffer).setBigUint64(0, signals, true);
    const bytes = structBytes(kvm_signal_mask, { sigset }, sigset.length);
    this.#target.call("KVM_SET_SIGNAL_MASK", bytes);
  }

  /**
   * Fills the second-level page tables for a range before the guest touches it (`KVM_PRE_FAULT_MEMORY`,
   * api.rst 4.143).
   *
   * @param gpa The first guest physical address, a multiple of 4096.
   * @param size Bytes, a multiple of 4096.
   * @returns How many bytes of it are left: a signal, or memory that is not there, ends it early.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  preFaultMemory(gpa: number, size: number): number {
    const range = { gpa, size };
    return Number(this.#target.get("KVM_PRE_FAULT_MEMORY", kvm_pre_fault_memory, range).size);
  }

  /**
   * Maps the ring of pages that the guest writes to (api.rst 8.29). The caller unmaps it.
   *
   * @throws {TypeError} When `KVM_CAP_DIRTY_LOG_RING` was not enabled on the VM before the vCPU was created.
   * @throws {SystemError} When the kernel refuses.
   */
  mapDirtyRing(): DirtyRing {
    // The kernel would map it all the same, and kill the process that reads it.
    if (this.#dirtyRingSize === 0) {
      throw new TypeError(
        `Cannot map the dirty ring of vCPU ${this.id}: its VM has none. Call ` +
          'vm.enableCap("KVM_CAP_DIRTY_LOG_RING", bytes) before the vCPU is created.',
      );
    }
    return new DirtyRing(this.#libc, this.#fd.number, this.#dirtyRingSize, `vCPU ${this.id}`);
  }

  /**
   * The vCPU's statistics (`KVM_GET_STATS_FD`, api.rst 4.133). The caller closes them.
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getStatsFd(): StatsFd {
    const fd = this.#target.call("KVM_GET_STATS_FD");
    return new StatsFd(this.#libc, fd, `the statistics of vCPU ${this.id}`);
  }

  /** What was asked of it since that was forgotten last. */
  get asked(): AskedOfKvm {
    return this.#fd;
  }

  /** Whether nobody but its owner can have run it, and no run has failed. */
  get isIntact(): boolean {
    return !this.#isShared && !this.#hasFailed;
  }

  /**
   * Gives its descriptor to another owner, with what is mapped: it is disposed then, and nothing is closed.
   *
   * @throws {TypeError} Once it is disposed.
   */
  give(): GivenVcpu {
    const { present } = this.#target;
    this.#runFd = -1;
    return { fd: this.#fd.give(), id: this.id, kvmRun: this.#mapping.give(), present };
  }

  /** Unmaps `kvm_run` and closes the vCPU; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#runFd = -1;
    this.#mapping[Symbol.dispose]();
    this.#fd[Symbol.dispose]();
  }
}
