import { kvm_dirty_gfn } from "../../kvm/abi/structs/memory.ts";
import type { DirtyRing } from "../../kvm/dirty_ring.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { type DirtyPages, type DirtyPagesOption, pageAddress } from "./dirty_pages.ts";
import type { MemorySlot } from "./memory_slots.ts";

const DEFAULT_ENTRIES = 1024;
/** The kernel wants a page at the least, and 65536 entries at the most (api.rst 8.29). */
const FEWEST_ENTRIES = 256;
const MOST_ENTRIES = 65536;

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
   * @throws {KvmError} When it refuses their size.
   */
  constructor(vm: Vm, entries: number) {
    this.#vm = vm;
    vm.enableCap("KVM_CAP_DIRTY_LOG_RING", entries * kvm_dirty_gfn.size);
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

  /** See {@linkcode DirtyPages.forget}. */
  forget(slot: number): void {
    this.harvest();
    this.#pages.delete(slot);
  }

  /** See {@linkcode DirtyPages.collect}. */
  collect(slots: readonly MemorySlot[], keep: boolean): number[] {
    this.harvest();
    const addresses = slots.flatMap((slot) =>
      [...this.#pages.get(slot.slot) ?? []].sort((a, b) => a - b)
        .map((page) => pageAddress(slot, page))
    );
    if (!keep) this.#pages.clear();
    return addresses;
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
export function planDirtyPages(option: DirtyPagesOption | undefined): "log" | number | undefined {
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
