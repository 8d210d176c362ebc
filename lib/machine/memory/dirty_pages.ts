import { ERRNO, HostError } from "../../ffi/errors.ts";
import { KvmError } from "../../kvm/errors.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { kvm_dirty_gfn } from "../../kvm/abi/structs/memory.ts";
import type { DirtyRing } from "../../kvm/dirty_ring.ts";

/** Notes the pages that a guest writes. */
export interface DirtyPages extends Disposable {
  /** Takes a vCPU of the VM, once it is created. */
  attach(vcpu: Vcpu): void;
  /** Makes room for more, where room can run out. */
  harvest(): void;
  /**
   * The pages of a slot that were written since they were taken last, by their numbers within it, in order. They are clean
   * then.
   *
   * @param slot Its number, as KVM knows it.
   */
  take(slot: number): number[];
}

/** Written pages from the kernel's bitmaps, which clears them when they are asked for. */
export class DirtyLog implements DirtyPages {
  readonly #vm: Vm;

  /** The bitmaps of a VM's slots that have one. */
  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** The bitmaps are the VM's. */
  attach(): void {}

  /** They have a bit for every page. */
  harvest(): void {}

  /** See {@linkcode DirtyPages.take}. */
  take(slot: number): number[] {
    return this.#vm.memory.takeDirtyPages(slot);
  }

  /** They go with the VM. */
  [Symbol.dispose](): void {}
}

const DEFAULT_ENTRIES = 1024;
/** The kernel wants a page at the least, and 65536 entries at the most (api.rst 8.29). */
const FEWEST_ENTRIES = 256;
const MOST_ENTRIES = 65536;
/**
 * What KVM keeps for itself where the processor logs page modifications (PML): the processor's log of 512 entries, and
 * 64 (`kvm_dirty_ring_get_rsvd_entries` in virt/kvm/dirty_ring.c). Elsewhere it keeps the 64.
 */
const RESERVED_ENTRIES_OF_PML = 576;

/**
 * Written pages from the rings that KVM keeps for each vCPU. A ring that is full stops its vCPU with
 * DIRTY_RING_FULL: {@linkcode DirtyRings.harvest} makes room.
 */
export class DirtyRings implements DirtyPages {
  readonly #vm: Vm;
  readonly #rings: DirtyRing[] = [];
  /** Pages that were taken out of the rings, by slot. */
  readonly #pages = new Map<number, Set<number>>();

  /**
   * Before the VM's first vCPU.
   *
   * @throws {CapabilityError} When the kernel has no rings.
   * @throws {HostError} When this host's processor needs larger ones.
   * @throws {KvmError} When the kernel refuses them.
   */
  constructor(vm: Vm, entries: number) {
    this.#vm = vm;
    try {
      vm.enableCap("KVM_CAP_DIRTY_LOG_RING", entries * kvm_dirty_gfn.size);
    } catch (error) {
      const isTooSmall = error instanceof KvmError && error.errno === ERRNO.EINVAL &&
        entries < RESERVED_ENTRIES_OF_PML;
      if (!isTooSmall) throw error;
      throw new HostError(
        `Cannot note dirty pages in a ring of ${entries}: this host's KVM refuses it. Where an Intel processor logs ` +
          `page modifications, KVM keeps ${RESERVED_ENTRIES_OF_PML} entries for itself: give { ring: ${DEFAULT_ENTRIES} } or more.`,
        { cause: error },
      );
    }
  }

  /** See {@linkcode DirtyPages.attach}. */
  attach(vcpu: Vcpu): void {
    this.#rings.push(vcpu.mapDirtyRing());
  }

  /** Takes what the rings hold, and lets the kernel use their entries again. */
  harvest(): void {
    let taken = 0;
    for (const ring of this.#rings) {
      for (const { slot, page } of ring.harvest()) {
        if (!this.#pages.has(slot)) this.#pages.set(slot, new Set());
        this.#pages.get(slot)!.add(page);
        taken++;
      }
    }
    if (taken > 0) this.#vm.memory.resetDirtyRings();
  }

  /** See {@linkcode DirtyPages.take}. */
  take(slot: number): number[] {
    this.harvest();
    const pages = this.#pages.get(slot);
    this.#pages.delete(slot);
    return [...pages ?? []].sort((a, b) => a - b);
  }

  /** Unmaps the rings. */
  [Symbol.dispose](): void {
    for (const ring of this.#rings) ring[Symbol.dispose]();
  }
}

/**
 * Reads the option `dirtyPages`.
 *
 * @returns `"log"`, how many entries the rings have, or undefined where no pages are noted.
 *
 * @throws {RangeError} When the kernel takes no such number, or the option is none.
 */
export function planDirtyPages(
  option: "log" | "ring" | { readonly ring: number } | undefined,
): "log" | number | undefined {
  if (option === undefined || option === "log") return option;
  const entries = option === "ring" ? DEFAULT_ENTRIES : option?.ring;
  if (
    Number.isInteger(entries) && entries >= FEWEST_ENTRIES && entries <= MOST_ENTRIES &&
    Number.isInteger(Math.log2(entries))
  ) return entries;
  throw new RangeError(
    `Cannot note dirty pages by ${
      JSON.stringify(option)
    }: give "log", "ring", or { ring: N } with a power of 2 ` +
      `from ${FEWEST_ENTRIES} to ${MOST_ENTRIES}`,
  );
}
