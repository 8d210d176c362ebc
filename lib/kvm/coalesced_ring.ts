import type { Mapping } from "../ffi/handles.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { KVM } from "./abi/constants.ts";
import { kvm_coalesced_mmio, kvm_coalesced_mmio_ring } from "./abi/structs/memory.ts";

/** Where the ring lies in a vCPU's mapping. */
export const COALESCED_RING: number = KVM.COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE;
const FIRST = COALESCED_RING + kvm_coalesced_mmio_ring.offsetOf("first");
const LAST = COALESCED_RING + kvm_coalesced_mmio_ring.offsetOf("last");
const ENTRIES = COALESCED_RING + kvm_coalesced_mmio_ring.size;

const ENTRY_SIZE = kvm_coalesced_mmio.size;
const ADDRESS = kvm_coalesced_mmio.offsetOf("phys_addr");
const LENGTH = kvm_coalesced_mmio.offsetOf("len");
const IS_PIO = kvm_coalesced_mmio.offsetOf("pio");
const DATA = kvm_coalesced_mmio.offsetOf("data");

const WORD_SIZE = 4;
const WORD = 2 ** 32;
const BYTE = 0x100;

/** Entries of the ring (`KVM_COALESCED_MMIO_MAX`). It is full with one less. */
const COUNT = Math.floor((PAGE_SIZE - kvm_coalesced_mmio_ring.size) / ENTRY_SIZE);

/**
 * How many writes the ring holds: the next is an exit. Kernels that reckon the room with numbers that wrap at 2^32 call
 * it full earlier, at times.
 */
export const COALESCED_RING_CAPACITY: number = COUNT - 1;

/**
 * Takes a write that made no exit.
 *
 * @param isPort Whether `address` is a port; else it is a guest physical address.
 * @param low The low 32 bits of the value.
 * @param high The high 32 bits of the value.
 * @param length How many bytes were written, 1 to 8.
 */
export type CoalescedWriteTaker = (
  isPort: boolean,
  address: number,
  low: number,
  high: number,
  length: number,
) => void;

/**
 * The ring in which KVM keeps the guest's writes to coalesced zones ({@linkcode VmMemory.registerCoalescedMmio})
 * until the process takes them (Documentation/virt/kvm/api.rst, 4.116). A VM has one; each of its vCPUs' mappings
 * shows it.
 */
export class CoalescedRing {
  readonly #mapping: Mapping;

  /** Use {@linkcode Vcpu.coalescedRing}. Reads through a mapping that it does not own. */
  constructor(mapping: Mapping) {
    this.#mapping = mapping;
  }

  /**
   * Hands out the writes in the order in which the guest made them. Each leaves the ring before it is handed
   * out.
   *
   * @param take Called for each write, with its place, its value in two halves and its bytes.
   */
  drain(take: CoalescedWriteTaker): void {
    for (;;) {
      // Anew each time: what takes a write may dispose the vCPU.
      const { view } = this.#mapping;
      const first = view.getUint32(FIRST, true);
      if (first === view.getUint32(LAST, true)) return;
      const entry = ENTRIES + first * ENTRY_SIZE;
      const length = view.getUint32(entry + LENGTH, true);
      const address = view.getUint32(entry + ADDRESS + WORD_SIZE, true) * WORD +
        view.getUint32(entry + ADDRESS, true);
      const isPort = view.getUint32(entry + IS_PIO, true) !== 0;
      const low = word(view, entry + DATA, length);
      const high = word(view, entry + DATA + WORD_SIZE, length - WORD_SIZE);
      view.setUint32(FIRST, (first + 1) % COUNT, true);
      take(isPort, address, low, high, length);
    }
  }
}

/** Up to 4 bytes as a number. The kernel leaves old bytes behind those that were written. */
function word(view: DataView, offset: number, length: number): number {
  let value = 0;
  for (let index = Math.min(WORD_SIZE, length) - 1; index >= 0; index--) {
    value = value * BYTE + view.getUint8(offset + index);
  }
  return value;
}
