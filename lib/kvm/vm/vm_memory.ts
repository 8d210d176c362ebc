import type { Libc, Pages } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { OwnedFd } from "../../ffi/handles.ts";
import type { Writable } from "../../ffi/struct.ts";
import {
  kvm_clear_dirty_log,
  kvm_coalesced_mmio_zone,
  kvm_create_guest_memfd,
  kvm_dirty_log,
  kvm_memory_attributes,
  kvm_userspace_memory_region2,
  type KvmCoalescedMmioZone,
  type KvmMemoryAttributes,
} from "../abi/structs/memory.ts";
import {
  type IoctlOptions,
  type IoctlTarget,
  type StructWithData,
  structWithData,
} from "../ioctl_target.ts";

/** The kernel's bitmaps are of such words. */
const BITS_PER_WORD = 32;
const BITS_PER_LONG = 64;
const BYTES_PER_LONG = 8;

/** Pages of a slot that {@linkcode VmMemory.clearDirtyLog} makes clean. */
export interface DirtyPages {
  /** The slot's number. */
  readonly slot: number;
  /** The first page, counted in the slot; a multiple of 64. */
  readonly firstPage: number;
  /** How many pages; a multiple of 64, but for those that reach the slot's end. */
  readonly pages: number;
  /** A bit a page, from `firstPage`: 1 makes it clean. */
  readonly bitmap: Uint8Array;
}

/** A slot that may have a guest_memfd behind it: {@linkcode VmMemory.setUserMemoryRegion2}. */
export interface MemoryRegion2 {
  /** The slot's number. */
  readonly slot: number;
  /** Flags of `KVM_MEM`. */
  readonly flags?: number;
  /** Its first guest physical address, a multiple of 4096. */
  readonly gpa: number;
  /**
   * The memory behind it where it is shared. It must stay reachable until the VM is closed, which the VM
   * sees to.
   */
  readonly pages: Pages;
  /** The file behind it where it is private: {@linkcode VmMemory.createGuestMemfd}. */
  readonly guestMemfd?: OwnedFd;
  /** Where in that file the slot begins. */
  readonly guestMemfdOffset?: number;
}

/**
 * The memory of a VM beside its slots: what was written, what is private, what makes no exit. Each throws a
 * KvmError when the kernel refuses, and a CapabilityError when it lacks the capability.
 */
export class VmMemory {
  readonly #target: IoctlTarget;
  readonly #libc: Libc;
  readonly #slots: Map<number, Pages>;
  /** What the kernel is asked with for a slot's dirty log, with room for the answer. */
  readonly #dirtyLogs = new Map<
    number,
    StructWithData & { readonly words: Uint32Array; readonly options: IoctlOptions }
  >();

  /** Use {@linkcode Vm.memory}. `slots` are the VM's own, which it goes on changing. */
  constructor(target: IoctlTarget, slots: Map<number, Pages>) {
    this.#target = target;
    this.#libc = target.libc;
    this.#slots = slots;
  }

  /**
   * Which pages of a slot were written since the last question, a bit a page (`KVM_GET_DIRTY_LOG`, api.rst
   * 4.8). The slot must log them.
   *
   * @param slot Its number.
   * @throws {RangeError} When the VM has no such slot.
   */
  getDirtyLog(slot: number): Uint8Array<ArrayBuffer> {
    const { bytes, dataStart } = this.#askDirtyLog(slot);
    return bytes.slice(dataStart);
  }

  /**
   * The same as the numbers of those pages within the slot, in order.
   *
   * @throws As {@linkcode VmMemory.getDirtyLog} does.
   */
  takeDirtyPages(slot: number): number[] {
    const { words } = this.#askDirtyLog(slot);
    const pages: number[] = [];
    for (let index = 0; index < words.length; index++) {
      for (let rest = words[index]; rest !== 0; rest = (rest & (rest - 1)) >>> 0) {
        pages.push(index * BITS_PER_WORD + BITS_PER_WORD - 1 - Math.clz32(rest & -rest));
      }
    }
    return pages;
  }

  #askDirtyLog(slot: number) {
    const log = this.#dirtyLog(slot, bitmapSize(this.#pagesOf(slot)));
    this.#target.call("KVM_GET_DIRTY_LOG", log.bytes, log.options);
    return log;
  }

  #dirtyLog(slot: number, size: number) {
    const found = this.#dirtyLogs.get(slot);
    if (found !== undefined && found.bytes.length === found.dataStart + size) return found;
    const place = structWithData(this.#libc, kvm_dirty_log.size, size);
    const words = new Uint32Array(place.bytes.buffer, place.dataStart, size / 4);
    const made = { ...place, words, options: { context: `on slot ${slot}` } };
    const value = { slot, dirty_bitmap: made.dataAddress };
    kvm_dirty_log.write(new DataView(made.bytes.buffer), 0, value);
    this.#dirtyLogs.set(slot, made);
    return made;
  }

  /**
   * Makes pages clean, once `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` is enabled (`KVM_CLEAR_DIRTY_LOG`, api.rst
   * 4.117).
   *
   * @param range The slot, its pages, and a bit for each.
   * @throws {RangeError} When the VM has no such slot, or the bitmap is shorter than the pages.
   */
  clearDirtyLog({ slot, firstPage, pages, bitmap }: DirtyPages): void {
    this.#pagesOf(slot);
    const size = bitmapSize(pages);
    if (bitmap.length < Math.ceil(pages / 8) || bitmap.length > size) {
      throw new RangeError(
        `Cannot clear the dirty log of ${pages} pages by ${bitmap.length} bytes: it takes a bit a page, ${size} bytes`,
      );
    }
    const place = structWithData(this.#libc, kvm_clear_dirty_log.size, size);
    kvm_clear_dirty_log.write(new DataView(place.bytes.buffer), 0, {
      slot,
      num_pages: pages,
      first_page: firstPage,
      dirty_bitmap: place.dataAddress,
    });
    place.bytes.set(bitmap, place.dataStart);
    this.#target.call("KVM_CLEAR_DIRTY_LOG", place.bytes, { context: `on slot ${slot}` });
  }

  /**
   * Takes back the entries of all dirty rings that were read, and gives their number
   * (`KVM_RESET_DIRTY_RINGS`, api.rst 8.29).
   *
   * @throws {KvmError} EINVAL where the VM has no rings.
   */
  resetDirtyRings(): number {
    return this.#target.call("KVM_RESET_DIRTY_RINGS");
  }

  /**
   * How many pages KVM may use for page tables of its own (`KVM_SET_NR_MMU_PAGES`; the kernel's
   * documentation has no section for it).
   *
   * @param pages How many, 20 at the least.
   * @throws {KvmError} EINVAL below 20.
   */
  setNrMmuPages(pages: number): void {
    this.#target.call("KVM_SET_NR_MMU_PAGES", pages, { context: `with ${pages} pages` });
  }

  /**
   * Sets a slot that may have a guest_memfd behind it (`KVM_SET_USER_MEMORY_REGION2`, api.rst 4.140).
   *
   * @param region Its number, address and memory.
   * @throws {RangeError} When the address or the size is not a multiple of 4096.
   */
  setUserMemoryRegion2(region: MemoryRegion2): void {
    const { slot, flags, gpa, pages, guestMemfd, guestMemfdOffset } = region;
    if (gpa % PAGE_SIZE !== 0 || pages.bytes.length % PAGE_SIZE !== 0) {
      throw new RangeError(
        `Cannot set memory slot ${slot}: its address 0x${
          gpa.toString(16)
        } or its size ${pages.bytes.length} ` +
          `is not a multiple of ${PAGE_SIZE}`,
      );
    }
    this.#target.set("KVM_SET_USER_MEMORY_REGION2", kvm_userspace_memory_region2, {
      slot,
      flags,
      guest_phys_addr: gpa,
      memory_size: pages.bytes.length,
      userspace_addr: pages.address,
      guest_memfd: guestMemfd?.number,
      guest_memfd_offset: guestMemfdOffset,
    }, { context: `on slot ${slot}` });
    this.#slots.set(slot, pages);
  }

  /**
   * Makes memory private or shared; `attributes` are of `KVM_MEMORY_ATTRIBUTE`
   * (`KVM_SET_MEMORY_ATTRIBUTES`, api.rst 4.141).
   *
   * @param attributes `address` and `size` are multiples of 4096.
   */
  setMemoryAttributes(attributes: Writable<KvmMemoryAttributes>): void {
    this.#target.set("KVM_SET_MEMORY_ATTRIBUTES", kvm_memory_attributes, attributes);
  }

  /**
   * Creates a file of guest memory that this process cannot read; `flags` are of `GUEST_MEMFD_FLAG`
   * (`KVM_CREATE_GUEST_MEMFD`, api.rst 4.142). The caller closes it.
   *
   * @param size Bytes, a multiple of 4096.
   */
  createGuestMemfd(size: number, flags: bigint = 0n): OwnedFd {
    const fd = this.#target.set("KVM_CREATE_GUEST_MEMFD", kvm_create_guest_memfd, { size, flags });
    return new OwnedFd(this.#libc, fd, `the guest_memfd of ${size} bytes`);
  }

  /**
   * Lets writes to a zone make no exits until the next one (`KVM_REGISTER_COALESCED_MMIO`, api.rst 4.116).
   * `pio` 1 makes it a zone of ports.
   *
   * @param zone `addr` is a guest physical address, or a port; `size` in bytes.
   */
  registerCoalescedMmio(zone: Writable<KvmCoalescedMmioZone>): void {
    this.#target.set("KVM_REGISTER_COALESCED_MMIO", kvm_coalesced_mmio_zone, zone);
  }

  /**
   * Takes that back (`KVM_UNREGISTER_COALESCED_MMIO`, api.rst 4.116).
   *
   * @param zone The same.
   */
  unregisterCoalescedMmio(zone: Writable<KvmCoalescedMmioZone>): void {
    this.#target.set("KVM_UNREGISTER_COALESCED_MMIO", kvm_coalesced_mmio_zone, zone);
  }

  #pagesOf(slot: number): number {
    const pages = this.#slots.get(slot);
    if (pages !== undefined) return pages.bytes.length / PAGE_SIZE;
    throw new RangeError(
      `Cannot use the dirty log of slot ${slot}: the VM has no such slot. It has ${
        [...this.#slots.keys()].join(", ") || "none"
      }.`,
    );
  }
}

/** Bytes of a bitmap as the kernel counts them: whole words. */
function bitmapSize(pages: number): number {
  return Math.ceil(pages / BITS_PER_LONG) * BYTES_PER_LONG;
}
