import { array, type Struct, struct, u16, u32, u64, u8, u8UpTo } from "../../../ffi/struct.ts";

/** A field that is one bit in the descriptor: KVM would cut a larger value off without a word. */
const bit = u8UpTo(1);

/** What {@linkcode kvm_segment} reads as. */
export type KvmSegment = {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
  padding: number;
};

/** `struct kvm_segment`: a segment register with the hidden part that a descriptor gave it (api.rst 4.13). */
export const kvm_segment: Struct<KvmSegment> = struct("kvm_segment", {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8UpTo(15),
  present: bit,
  dpl: u8UpTo(3),
  db: bit,
  s: bit,
  l: bit,
  g: bit,
  avl: bit,
  unusable: bit,
  padding: u8,
});

/** What {@linkcode kvm_dtable} reads as. */
export type KvmDtable = {
  base: bigint;
  limit: number;
  padding: number[];
};

/** `struct kvm_dtable`: GDTR or IDTR (api.rst 4.13). */
export const kvm_dtable: Struct<KvmDtable> = struct("kvm_dtable", {
  base: u64,
  limit: u16,
  padding: array(u16, 3),
});

const special = {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
};

/** What {@linkcode kvm_sregs} reads as. */
export type KvmSregs = {
  cs: KvmSegment;
  ds: KvmSegment;
  es: KvmSegment;
  fs: KvmSegment;
  gs: KvmSegment;
  ss: KvmSegment;
  tr: KvmSegment;
  ldt: KvmSegment;
  gdt: KvmDtable;
  idt: KvmDtable;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  apic_base: bigint;
  interrupt_bitmap: bigint[];
};

/**
 * `struct kvm_sregs`: segments, tables, control registers and pending interrupts.
 * KVM_GET_SREGS, KVM_SET_SREGS; also in `kvm_run.s.regs` (api.rst 4.13, 4.14).
 */
export const kvm_sregs: Struct<KvmSregs> = struct("kvm_sregs", {
  ...special,
  interrupt_bitmap: array(u64, 4),
});

/** What {@linkcode kvm_sregs2} reads as. */
export type KvmSregs2 = {
  cs: KvmSegment;
  ds: KvmSegment;
  es: KvmSegment;
  fs: KvmSegment;
  gs: KvmSegment;
  ss: KvmSegment;
  tr: KvmSegment;
  ldt: KvmSegment;
  gdt: KvmDtable;
  idt: KvmDtable;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  apic_base: bigint;
  flags: bigint;
  pdptrs: bigint[];
};

/**
 * `struct kvm_sregs2`: as `kvm_sregs`, with the PAE page-directory pointers in place of the interrupts.
 * KVM_GET_SREGS2, KVM_SET_SREGS2 (api.rst 4.131, 4.132).
 */
export const kvm_sregs2: Struct<KvmSregs2> = struct("kvm_sregs2", {
  ...special,
  flags: u64,
  pdptrs: array(u64, 4),
});
