import type { Libc } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { COALESCED_RING } from "../coalesced_ring.ts";

/** A mapping of one of the machine's descriptors, and its copy in the window. */
export interface CopiedMapping {
  readonly descriptor: number;
  /** Its address in the agent. */
  readonly real: number;
  /** Its copy's offset in the window. */
  readonly copy: number;
  readonly length: number;
}

/** The first words of a ring: where it begins, and where it ends. */
const FIRST = 0;
const LAST = 1;

/** A VM's ring, as each of its vCPUs' copies shows it. */
interface Ring {
  /** Where it began when the copies were the same. */
  first: number;
  /** The ring's page in each copy. */
  readonly copies: Map<CopiedMapping, Int32Array>;
}

/**
 * The rings of coalesced writes. A VM has one, which KVM shows in each vCPU's mapping; here each mapping has a copy,
 * and the agent copies the one of the vCPU that runs: how far it was emptied goes there, and what it holds comes back.
 * So the copies of a VM are made the same around each run.
 */
export class CoalescedRings {
  readonly #libc: Libc;
  /** The VM of each vCPU, by their descriptors. */
  readonly #vms = new Map<number, number>();
  readonly #rings = new Map<number, Ring>();

  /** @param libc The C library of this process. */
  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Forgets all: another machine has none of them. */
  clear(): void {
    this.#vms.clear();
    this.#rings.clear();
  }

  /** Notes a vCPU that was made. */
  addVcpu(vcpu: number, vm: number): void {
    this.#vms.set(vcpu, vm);
  }

  /** Notes a vCPU's mapping. @param window Where the window begins in this process. */
  map(mapping: CopiedMapping, window: bigint): void {
    const vm = this.#vms.get(mapping.descriptor);
    if (vm === undefined || mapping.length < COALESCED_RING + PAGE_SIZE) return;
    const ring = this.#rings.get(vm) ?? { first: 0, copies: new Map() };
    const page = window + BigInt(mapping.copy + COALESCED_RING);
    const words = new Int32Array(this.#libc.memory(page, PAGE_SIZE));
    const [other] = ring.copies.values();
    if (other !== undefined) words.set(other);
    ring.copies.set(mapping, words);
    this.#rings.set(vm, ring);
  }

  /** Forgets a mapping that goes, and the VM with its last. */
  unmap(mapping: CopiedMapping): void {
    const vm = this.#vms.get(mapping.descriptor);
    const ring = vm === undefined ? undefined : this.#rings.get(vm);
    if (ring === undefined || !ring.copies.delete(mapping)) return;
    this.#vms.delete(mapping.descriptor);
    if (ring.copies.size === 0) this.#rings.delete(vm!);
  }

  /** Before a run: its vCPU's copy begins where the ring was emptied to, in whichever copy that was. */
  beforeRun(mapping: CopiedMapping): void {
    const ring = this.#shared(mapping);
    if (ring === undefined) return;
    for (const words of ring.copies.values()) {
      if (words[FIRST] === ring.first) continue;
      ring.first = words[FIRST];
      break;
    }
    ring.copies.get(mapping)![FIRST] = ring.first;
  }

  /** After a run: all copies hold what its vCPU's does. */
  afterRun(mapping: CopiedMapping): void {
    const ring = this.#shared(mapping);
    if (ring === undefined) return;
    const words = ring.copies.get(mapping)!;
    ring.first = words[FIRST];
    const isEmpty = words[FIRST] === words[LAST];
    for (const [other, copy] of ring.copies) {
      if (other === mapping) continue;
      if (!isEmpty) copy.set(words);
      else {
        copy[FIRST] = words[FIRST];
        copy[LAST] = words[LAST];
      }
    }
  }

  /** The ring of a vCPU whose VM has others. */
  #shared(mapping: CopiedMapping): Ring | undefined {
    const vm = this.#vms.get(mapping.descriptor);
    const ring = vm === undefined ? undefined : this.#rings.get(vm);
    return ring !== undefined && ring.copies.size > 1 ? ring : undefined;
  }
}
