/**
 * Every address that a guest finds at a fixed place: memory, ports, MSR values. Nothing else in the project
 * has a guest address of its own.
 *
 * @module
 */

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Guest-physical memory of a machine in real mode. Linear and physical addresses are the same there. */
export const REAL_MODE = {
  /** Interrupt vector table: 256 far pointers, 0x0–0x3ff. */
  interruptVectorTable: 0x0,
  /** Offset of the vector table's last byte: IDTR's limit. */
  interruptVectorTableLimit: 0x3ff,
  /** The BIOS data area of a PC, 0x400–0x4ff: left alone, though no BIOS has filled it. */
  biosDataArea: 0x400,
  /** Where code is loaded and starts: the first byte after the BIOS data area. */
  code: 0x500,
  /** Where a BIOS loads a boot sector. */
  bootSector: 0x7c00,
  /** The stack grows down from here, or from the end of a smaller memory. */
  stackTop: 0x7c00,
  /** Address after the last that real mode reaches: 0xffff:0xffff is 0x10ffef. */
  end: 0x10fff0,
  /** Default memory size in bytes: all that 20 address bits reach. */
  memorySize: 1 * MIB,
} as const;

/** Guest-physical memory of a machine in long mode; the default tables map the first GiB onto itself. */
export const LONG_MODE = {
  /** Page tables: PML4, PDPT, PD, and a PT where there is one. */
  pageTables: 0x1000,
  /** Address after the room for those. */
  pageTablesEnd: 0x5000,
  /** Global descriptor table: null, code, data, and the two slots of the TSS descriptor. */
  globalDescriptorTable: 0x5000,
  /** Task-state segment, 104 bytes. */
  taskStateSegment: 0x5100,
  /** Interrupt descriptor table: 256 gates of 16 bytes, 0x6000–0x6fff, all absent. */
  interruptDescriptorTable: 0x6000,
  /** More page tables, for those whom the first four do not serve. */
  morePageTables: 0x7000,
  /** Address after the room for those; the stack has the 16 KiB from here on. */
  morePageTablesEnd: 0xc000,
  /** The stack grows down from here. */
  stackTop: 0x10000,
  /** Where code is loaded and starts. */
  code: 0x10000,
  /** Size of the identity map from address 0 on: far more than memory, so that the rest is MMIO. */
  identityMapSize: 1 * GIB,
  /** Default memory size in bytes. */
  memorySize: 2 * MIB,
} as const;

/** Selectors of the long-mode GDT: offsets of its descriptors. */
export const LONG_MODE_SELECTOR = {
  /** 64-bit code, CPL 0. */
  code: 0x08,
  /** Data and stack. */
  data: 0x10,
  /** The TSS, whose descriptor has 16 bytes. */
  task: 0x18,
} as const;

/** I/O ports. */
export const PORT = {
  /** First port of the serial line COM1. */
  com1: 0x3f8,
  /** Number of ports of a serial line. */
  serialPorts: 8,
  /** Where a guest writes its status to end the run. */
  exit: 0xf4,
} as const;

/** Physical address of the local APIC's registers after reset (Intel SDM Vol. 3A, 10.4.1). */
export const LOCAL_APIC = 0xfee0_0000;

/** The highest I/O port. */
export const LAST_PORT = 0xffff;

/** The highest physical address that x86 can have: 52 bits. */
export const LAST_PHYSICAL_ADDRESS = 2 ** 52 - 1;

/**
 * Guest-physical pages that KVM takes for itself on Intel processors without unrestricted guest, below the top
 * of the first 4 GiB as QEMU and kvmtool place them (Documentation/virt/kvm/api.rst, 4.36 and 4.95). No slot may
 * lie there.
 */
export const KVM_PRIVATE_PAGES = {
  /** The first address. */
  start: 0xfffb_c000,
  /** A page for the identity map. */
  identityMap: 0xfffb_c000,
  /** Three pages for the task state. */
  taskState: 0xfffb_d000,
  /** The address after the last. */
  end: 0xfffc_0000,
} as const;
