import { PAGE_SIZE } from "../../ffi/mman.ts";
import { KVM_DIRTY_LOG } from "../../kvm/abi/mod.ts";
import type { Vm } from "../../kvm/vm.ts";
import { type DirtyPages, pageAddress } from "./dirty_pages.ts";
import type { MemorySlot } from "./memory_slots.ts";

const BITS_PER_BYTE = 8;

/**
 * Written pages from the kernel's bitmaps. The kernel is told to clear nothing by itself
 * (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), so that a look at them can leave them as they are.
 */
export class DirtyLog implements DirtyPages {
  readonly #vm: Vm;

  /**
   * Before the VM's first slot.
   *
   * @throws {CapabilityError} When the kernel cannot leave clearing to the process.
   */
  constructor(vm: Vm) {
    this.#vm = vm;
    vm.enableCap("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", KVM_DIRTY_LOG.MANUAL_PROTECT_ENABLE);
  }

  /** The bitmaps are the VM's. */
  attach(): void {}

  /** They have a bit for every page. */
  harvest(): void {}

  /** A slot's bitmap goes with it. */
  forget(): void {}

  /** See {@linkcode DirtyPages.collect}. */
  collect(slots: readonly MemorySlot[], keep: boolean): number[] {
    return slots.filter(({ readonly }) => !readonly).flatMap((slot) => {
      const bitmap = this.#vm.memory.getDirtyLog(slot.slot);
      const addresses = pagesIn(bitmap).map((page) => pageAddress(slot, page));
      if (!keep && addresses.length > 0) {
        const pages = slot.size / PAGE_SIZE;
        this.#vm.memory.clearDirtyLog({ slot: slot.slot, firstPage: 0, pages, bitmap });
      }
      return addresses;
    });
  }

  /** They go with the VM. */
  [Symbol.dispose](): void {}
}

function pagesIn(bitmap: Uint8Array): number[] {
  return Array.from(bitmap).flatMap((byte, index) =>
    Array.from({ length: BITS_PER_BYTE }, (_, bit) => bit)
      .filter((bit) => (byte >> bit & 1) !== 0)
      .map((bit) => index * BITS_PER_BYTE + bit)
  );
}
