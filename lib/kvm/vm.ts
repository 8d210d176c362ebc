import { ERRNO } from "../ffi/errors.ts";
import type { Libc, Pages } from "../ffi/libc.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { CAPABILITIES, type CapabilityName } from "./abi/capabilities.ts";
import type { IoctlName } from "./abi/ioctls.ts";
import { KVM_CREATE_DEVICE, KVM_MEM } from "./abi/constants.ts";
import { kvm_create_device } from "./abi/structs/device.ts";
import { kvm_userspace_memory_region } from "./abi/structs/memory.ts";
import { kvm_enable_cap } from "./abi/structs/vcpu.ts";
import { Device, DeviceAttributes } from "./device.ts";
import {
  type AskedOfKvm,
  ioctl,
  type IoctlObserver,
  IoctlTarget,
  KvmFd,
  structBytes,
} from "./ioctl_target.ts";
import { KvmError } from "./errors.ts";
import { StatsFd } from "./stats_fd.ts";
import { type GivenVcpu, Vcpu } from "./vcpu.ts";
import { VmClock, VmPit } from "./vm/vm_timers.ts";
import { VmEncryption } from "./vm/vm_encryption.ts";
import { VmFilters } from "./vm/vm_filters.ts";
import { VmInterrupts } from "./vm/vm_interrupts.ts";
import { VmMemory } from "./vm/vm_memory.ts";
import { VmXen } from "./xen.ts";

const U64_SIZE = 8;

/** The capabilities that give vCPUs dirty rings; their argument is the size in bytes. */
const DIRTY_RINGS: ReadonlySet<CapabilityName> = new Set<CapabilityName>([
  "KVM_CAP_DIRTY_LOG_RING",
  "KVM_CAP_DIRTY_LOG_RING_ACQ_REL",
]);

/** A memory slot to set: {@linkcode Vm.setMemorySlot}. */
export interface MemoryRegion {
  /** The slot's number. */
  readonly slot: number;
  /** Its first guest physical address, a multiple of 4096. */
  readonly gpa: number;
  /**
   * The memory behind it. It must stay reachable until the VM is closed: the kernel holds its address, not
   * the object.
   */
  readonly pages: Pages;
  /** Whether the guest's writes end in MMIO exits (`KVM_MEM_READONLY`). */
  readonly readonly?: boolean;
  /** Whether the kernel keeps a bitmap of the pages that are written (`KVM_MEM_LOG_DIRTY_PAGES`). */
  readonly logDirtyPages?: boolean;
}

/** A VM between two owners. */
export interface GivenVm {
  /** Its descriptor. */
  readonly fd: number;
  /** The size of the mapping of each of its vCPUs. */
  readonly vcpuMmapSize: number;
  /** The capabilities that were found; undefined of one that was just created. */
  readonly present?: Set<CapabilityName>;
}

/**
 * One virtual machine: the file descriptor that `KVM_CREATE_VM` returned. Its ioctls that are not here are
 * grouped by what they are about; each method has the ioctl's name in camel case.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * console.log(vm.clock.getClock().clock);
 * ```
 */
export class Vm implements Disposable {
  readonly #libc: Libc;
  readonly #fd: KvmFd;
  readonly #vcpuMmapSize: number;
  /**
   * The kernel has the addresses of this memory: it must not be collected as long as the VM, or a vCPU of
   * it, can be used.
   */
  readonly #pages = new Map<number, Pages>();
  readonly #target: IoctlTarget;
  #dirtyRingSize = 0;
  readonly #askHost: (name: CapabilityName) => number;
  /** What is written, private, or makes no exit. */
  readonly memory: VmMemory;
  /** The interrupt controllers, and the ways into them. */
  readonly interrupts: VmInterrupts;
  /** The interval timer. */
  readonly pit: VmPit;
  /** kvmclock, and the frequency of the TSC. */
  readonly clock: VmClock;
  /** What the guest may reach: MSRs, PMU events. */
  readonly filters: VmFilters;
  /** For Xen guests. */
  readonly xen: VmXen;
  /** For confidential VMs. */
  readonly encryption: VmEncryption;
  /** Attributes of the VM, gated by KVM_CAP_VM_ATTRIBUTES, which no x86 kernel has so far. */
  readonly attributes: DeviceAttributes;

  /** Use {@linkcode Kvm.createVm}. Takes ownership of the descriptor. */
  constructor(
    libc: Libc,
    { fd, vcpuMmapSize, present }: GivenVm,
    askHost: (name: CapabilityName) => number,
  ) {
    this.#libc = libc;
    this.#fd = new KvmFd(libc, fd, "the VM");
    this.#vcpuMmapSize = vcpuMmapSize;
    this.#askHost = askHost;
    const target = new IoctlTarget(libc, this.#fd, (name) => this.capability(name), present);
    this.#target = target;
    this.memory = new VmMemory(target, this.#pages);
    this.interrupts = new VmInterrupts(target);
    this.pit = new VmPit(target);
    this.clock = new VmClock(target);
    this.filters = new VmFilters(target);
    this.xen = new VmXen(target);
    this.encryption = new VmEncryption(target);
    this.attributes = new DeviceAttributes(target, "KVM_CAP_VM_ATTRIBUTES");
  }

  /**
   * What the kernel says of a capability for this VM (`KVM_CHECK_EXTENSION`, api.rst 4.4): 0 where it lacks
   * it, else 1 or more.
   *
   * @param name With `KVM_CAP_`.
   */
  capability(name: CapabilityName): number {
    return ioctl(this.#libc, this.#fd, "KVM_CHECK_EXTENSION", CAPABILITIES[name].number, name);
  }

  /**
   * Switches a capability on (`KVM_ENABLE_CAP`, api.rst 4.37 and 7).
   *
   * @param args As that capability takes them, up to 4.
   * @throws {CapabilityError} When the kernel lacks the capability.
   * @throws {KvmError} When it refuses the arguments, or it is too late: some want to be before the first
   * vCPU.
   */
  enableCap(name: CapabilityName, ...args: readonly (number | bigint)[]): void {
    const value = { cap: CAPABILITIES[name].number, args };
    this.#target.set("KVM_ENABLE_CAP", kvm_enable_cap, value, { capability: name, context: name });
    if (DIRTY_RINGS.has(name)) this.#dirtyRingSize = Number(args[0]);
  }

  /**
   * Sets a memory slot (`KVM_SET_USER_MEMORY_REGION`).
   *
   * @param region Its number, address and memory.
   * @throws {RangeError} When the address or the size is not a multiple of 4096.
   * @throws {KvmError} When the kernel refuses: EEXIST where it overlaps another slot.
   */
  setMemorySlot({ slot, gpa, pages, readonly, logDirtyPages }: MemoryRegion): void {
    const size = pages.bytes.length;
    if (gpa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0) {
      throw new RangeError(
        `Cannot set memory slot ${slot}: its address 0x${
          gpa.toString(16)
        } or its size ${size} is not a ` +
          `multiple of ${PAGE_SIZE}`,
      );
    }
    const bytes = new Uint8Array(kvm_userspace_memory_region.size);
    kvm_userspace_memory_region.write(new DataView(bytes.buffer), 0, {
      slot,
      flags: (readonly ? KVM_MEM.READONLY : 0) | (logDirtyPages ? KVM_MEM.LOG_DIRTY_PAGES : 0),
      guest_phys_addr: gpa,
      memory_size: size,
      userspace_addr: pages.address,
    });
    ioctl(this.#libc, this.#fd, "KVM_SET_USER_MEMORY_REGION", bytes, `on slot ${slot}`);
    // Not before: where the kernel refuses, it goes on with the memory that the slot had.
    this.#pages.set(slot, pages);
  }

  /**
   * Deletes a memory slot (`KVM_SET_USER_MEMORY_REGION` with size 0, api.rst 4.35).
   *
   * @param slot Its number.
   * @throws {KvmError} When the kernel refuses: EINVAL where there is no such slot.
   */
  deleteMemorySlot(slot: number): void {
    const bytes = structBytes(kvm_userspace_memory_region, { slot });
    ioctl(this.#libc, this.#fd, "KVM_SET_USER_MEMORY_REGION", bytes, `to delete slot ${slot}`);
    this.#pages.delete(slot);
  }

  /**
   * Where Intel processors without unrestricted guest get the pages that they need to emulate real mode: 4
   * pages at `taskState` and one at `identityMap`. No slot may lie there. AMD processors take and ignore
   * it.
   *
   * @param taskState The guest physical address of 4 pages, below 4 GiB.
   * @param identityMap That of one page, below 4 GiB.
   */
  setRealModePages(taskState: number, identityMap: number): void {
    const address = new Uint8Array(U64_SIZE);
    new DataView(address.buffer).setBigUint64(0, BigInt(identityMap), true);
    ioctl(this.#libc, this.#fd, "KVM_SET_IDENTITY_MAP_ADDR", address);
    ioctl(this.#libc, this.#fd, "KVM_SET_TSS_ADDR", taskState);
  }

  /** Makes one of its ioctls, as {@linkcode Vcpu.call} does. */
  call(name: IoctlName, argument: number | Uint8Array<ArrayBuffer>): number {
    return this.#target.call(name, argument);
  }

  /** Lets somebody hear of each of its ioctls but those of slots and vCPUs; undefined: nobody. */
  set observer(observer: IoctlObserver | undefined) {
    this.#target.observer = observer;
  }

  /** Creates the in-kernel PIC, IOAPIC and LAPICs (`KVM_CREATE_IRQCHIP`). Before the first vCPU. */
  createIrqchip(): void {
    ioctl(this.#libc, this.#fd, "KVM_CREATE_IRQCHIP");
  }

  /**
   * Says which vCPU starts, before the first is created; without it that is 0 (`KVM_SET_BOOT_CPU_ID`,
   * api.rst 4.41).
   *
   * @param id A vCPU id.
   * @throws {KvmError} When the kernel refuses.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  setBootCpuId(id: number): void {
    this.#target.call("KVM_SET_BOOT_CPU_ID", id, { context: `with id ${id}` });
  }

  /**
   * Creates a device inside the kernel (`KVM_CREATE_DEVICE`, api.rst 4.79).
   *
   * @param type Of `KVM_DEV_TYPE`; x86 has VFIO.
   * @throws {KvmError} ENODEV where the kernel has no such device.
   */
  createDevice(type: number): Device {
    const bytes = structBytes(kvm_create_device, { type });
    // Not gated by KVM_CAP_DEVICE_CTRL: Linux 6.1 has devices on x86 and does not report it.
    const capability = null;
    this.#target.call("KVM_CREATE_DEVICE", bytes, { capability, context: `of type ${type}` });
    const { fd } = kvm_create_device.read(new DataView(bytes.buffer));
    return new Device(this.#libc, fd, type, (name) => this.#ask(name));
  }

  /**
   * Whether the kernel has a device of this type (`KVM_CREATE_DEVICE` with `KVM_CREATE_DEVICE_TEST`,
   * api.rst 4.79).
   *
   * @param type Of `KVM_DEV_TYPE`.
   */
  hasDevice(type: number): boolean {
    const value = { type, flags: KVM_CREATE_DEVICE.TEST };
    try {
      this.#target.set("KVM_CREATE_DEVICE", kvm_create_device, value, { capability: null });
      return true;
    } catch (error) {
      if (error instanceof KvmError && error.errno === ERRNO.ENODEV) return false;
      throw error;
    }
  }

  /**
   * The VM's statistics (`KVM_GET_STATS_FD`, api.rst 4.133). The caller closes them.
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getStatsFd(): StatsFd {
    return new StatsFd(this.#libc, this.#target.call("KVM_GET_STATS_FD"), "the VM's statistics");
  }

  /**
   * Creates a virtual CPU (`KVM_CREATE_VCPU`).
   *
   * @param id From 0 to what KVM_CAP_MAX_VCPU_ID says; on x86 also its APIC id.
   * @throws {KvmError} When the kernel refuses: EEXIST where there is one of this id.
   */
  createVcpu(id: number): Vcpu {
    const fd = ioctl(this.#libc, this.#fd, "KVM_CREATE_VCPU", id, `with id ${id}`);
    return this.takeVcpu({ fd, id });
  }

  /** Takes ownership of a vCPU of it, which {@linkcode Vcpu.give} gave. */
  takeVcpu(given: GivenVcpu): Vcpu {
    const ask = (name: CapabilityName) => this.#ask(name);
    return new Vcpu(
      this.#libc,
      given,
      this.#vcpuMmapSize,
      this.#pages,
      ask,
      this.#dirtyRingSize,
    );
  }

  /** What was asked of it since that was forgotten last. */
  get asked(): AskedOfKvm {
    return this.#fd;
  }

  /** Deletes all its memory slots. */
  deleteMemorySlots(): void {
    for (const slot of [...this.#pages.keys()]) this.deleteMemorySlot(slot);
  }

  /**
   * Gives its descriptor to another owner: it is disposed then, and nothing is closed.
   *
   * @throws {TypeError} Once it is disposed.
   */
  give(): GivenVm {
    const { present } = this.#target;
    return { fd: this.#fd.give(), vcpuMmapSize: this.#vcpuMmapSize, present };
  }

  /**
   * For vCPUs and devices, which may outlive the VM's descriptor and take no `KVM_CHECK_EXTENSION`
   * themselves.
   */
  #ask(name: CapabilityName): number {
    return this.#fd.isOpen ? this.capability(name) : this.#askHost(name);
  }

  /** Closes the VM; a second call does nothing. A vCPU that is still open keeps it alive in the kernel. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}
