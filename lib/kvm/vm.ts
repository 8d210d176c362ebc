import type { Libc } from "../ffi/libc.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { OwnedFd } from "../ffi/owned_fd.ts";
import type { Pages } from "../ffi/pages.ts";
import { KVM_MEM } from "./abi/constants.ts";
import { kvm_userspace_memory_region } from "./abi/structs/memory.ts";
import { ioctl } from "./ioctl.ts";
import { Vcpu } from "./vcpu.ts";

const U64_SIZE = 8;

/** A memory slot to set: {@linkcode Vm.setMemorySlot}. */
export interface MemoryRegion {
  /** The slot's number. */
  readonly slot: number;
  /** Its first guest physical address, a multiple of 4096. */
  readonly gpa: number;
  /** The memory behind it. It must stay reachable until the VM is closed: the kernel holds its address, not the object. */
  readonly pages: Pages;
  /** Whether the guest's writes end in MMIO exits (`KVM_MEM_READONLY`). */
  readonly readonly?: boolean;
  /** Whether the kernel keeps a bitmap of the pages that are written (`KVM_MEM_LOG_DIRTY_PAGES`). */
  readonly logDirtyPages?: boolean;
}

/** One virtual machine: the file descriptor that `KVM_CREATE_VM` returned. */
export class Vm implements Disposable {
  readonly #libc: Libc;
  readonly #fd: OwnedFd;
  readonly #vcpuMmapSize: number;
  /** The kernel has the addresses of this memory: it must not be collected as long as the VM, or a vCPU of it, can be used. */
  readonly #pages = new Map<number, Pages>();

  /** Use {@linkcode Kvm.createVm}. Takes ownership of `fd`. */
  constructor(libc: Libc, fd: number, vcpuMmapSize: number) {
    this.#libc = libc;
    this.#fd = new OwnedFd(libc, fd, "the VM");
    this.#vcpuMmapSize = vcpuMmapSize;
  }

  /**
   * Sets a memory slot (`KVM_SET_USER_MEMORY_REGION`).
   *
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
   * Where Intel processors without unrestricted guest get the pages that they need to emulate real mode: 4 pages at `taskState` and one at `identityMap`.
   * No slot may lie there. AMD processors take and ignore it.
   */
  setRealModePages(taskState: number, identityMap: number): void {
    const address = new Uint8Array(U64_SIZE);
    new DataView(address.buffer).setBigUint64(0, BigInt(identityMap), true);
    ioctl(this.#libc, this.#fd, "KVM_SET_IDENTITY_MAP_ADDR", address);
    ioctl(this.#libc, this.#fd, "KVM_SET_TSS_ADDR", taskState);
  }

  /** Creates the in-kernel PIC, IOAPIC and LAPICs (`KVM_CREATE_IRQCHIP`). Before the first vCPU. */
  createIrqchip(): void {
    ioctl(this.#libc, this.#fd, "KVM_CREATE_IRQCHIP");
  }

  /**
   * Creates a virtual CPU (`KVM_CREATE_VCPU`).
   *
   * @throws {KvmError} When the kernel refuses: EEXIST where there is one of this id.
   */
  createVcpu(id: number): Vcpu {
    const fd = ioctl(this.#libc, this.#fd, "KVM_CREATE_VCPU", id, `with id ${id}`);
    return new Vcpu(this.#libc, fd, id, this.#vcpuMmapSize, this.#pages);
  }

  /** Closes the VM; a second call does nothing. A vCPU that is still open keeps it alive in the kernel. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}
