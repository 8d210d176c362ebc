import type { Libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/handles.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { KVM, KVM_DIRTY_GFN_F } from "./abi/constants.ts";
import { kvm_dirty_gfn } from "./abi/structs/memory.ts";

const FLAGS = kvm_dirty_gfn.offsetOf("flags");
const SLOT = kvm_dirty_gfn.offsetOf("slot");
const OFFSET = kvm_dirty_gfn.offsetOf("offset");

/** A page that the guest has written to: an entry of a dirty ring. */
export interface DirtyPage {
  /** The memory slot. */
  readonly slot: number;
  /** The page, counted in the slot. */
  readonly page: number;
}

/**
 * The ring in which KVM notes each page that a vCPU writes to, in slots that log their dirty pages
 * (Documentation/virt/kvm/api.rst, 8.29, KVM_CAP_DIRTY_LOG_RING). A guest that has filled it is left with
 * DIRTY_RING_FULL.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * const BYTES = 65536;
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * vm.enableCap("KVM_CAP_DIRTY_LOG_RING", BYTES);
 * using vcpu = vm.createVcpu(0);
 * using ring = vcpu.mapDirtyRing();
 * vcpu.run();
 * console.log(ring.harvest(), vm.memory.resetDirtyRings());
 * ```
 */
export class DirtyRing implements Disposable {
  readonly #mapping: Mapping;
  readonly #entries: number;
  #next = 0;

  /** Use {@linkcode Vcpu.mapDirtyRing}. */
  constructor(libc: Libc, fd: number, size: number, what: string) {
    const offset = KVM.DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE;
    this.#mapping = new Mapping(libc, fd, size, `the dirty ring of ${what}`, offset);
    this.#entries = size / kvm_dirty_gfn.size;
  }

  /**
   * The pages that were noted since the last call, in the order of the first write to each. They count as
   * clean again, and their entries are free, once {@linkcode VmMemory.resetDirtyRings} has taken them back.
   *
   * @throws {RangeError} When the ring is disposed.
   */
  harvest(): DirtyPage[] {
    const { view } = this.#mapping;
    const pages: DirtyPage[] = [];
    while (pages.length < this.#entries) {
      const entry = this.#next * kvm_dirty_gfn.size;
      const flags = view.getUint32(entry + FLAGS, true);
      if ((flags & KVM_DIRTY_GFN_F.MASK) !== KVM_DIRTY_GFN_F.DIRTY) break;
      pages.push({
        slot: view.getUint32(entry + SLOT, true),
        page: Number(view.getBigUint64(entry + OFFSET, true)),
      });
      view.setUint32(entry + FLAGS, KVM_DIRTY_GFN_F.RESET, true);
      this.#next = (this.#next + 1) % this.#entries;
    }
    return pages;
  }

  /** Unmaps it; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
