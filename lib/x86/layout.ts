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
  /**
   * The stubs of the fault catcher: the BIOS data area's last 16 bytes, which belong to whatever program runs (the
   * "intra-application communications area"). At the start of a paragraph: vectors reach a stub by different CS.
   */
  faultStubs: 0x4f0,
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

/** Guest-physical memory of a PC, and where its holes are. */
export const PC_MEMORY = {
  /** The first address that neither vectors nor a BIOS use. */
  free: 0x500,
  /** The end of conventional memory: video memory, adapters and firmware lie from here on. */
  adapters: 0xa_0000,
  /** Memory goes on here. */
  high: 1 * MIB,
  /** Devices, controllers and firmware lie between here and 4 GiB; memory goes on there. */
  devices: 3 * GIB,
  /** The address after the last that 32 bits reach. */
  end32: 4 * GIB,
  /** The most firmware that shows below 1 MiB, too: 0xe0000–0xfffff. */
  shadowedRom: 128 * KIB,
  /** What a chipset has shadow RAM for: 0xc0000–0xfffff. */
  shadowRam: 256 * KIB,
  /** Default memory size in bytes of what a PC's firmware or boot loader starts. */
  memorySize: 16 * MIB,
} as const;

/**
 * Guest-physical memory of a machine in 32-bit protected mode, with and without paging, and in long mode. Where
 * there is paging, the default tables map this memory onto itself.
 */
export const PROTECTED_MODE = {
  /** What the unikernel convention's RDI points to: as much as fits below the page tables. */
  bootInformation: 0x500,
  /** Page tables, root first: a PML4, a PDPT, a PD, and a PT where there is one. */
  pageTables: 0x1000,
  /** Address after the room for those. */
  pageTablesEnd: 0x5000,
  /** Global descriptor table; {@linkcode SELECTOR} has its order. */
  globalDescriptorTable: 0x5000,
  /** Task-state segment, 104 bytes. */
  taskStateSegment: 0x5100,
  /** The handler of `int 0x80` that code at CPL 3 has by default. */
  systemCallHandler: 0x5200,
  /** The stubs of the fault catcher, 128 bytes. */
  faultStubs: 0x5280,
  /** The lowest address of the stack on which long mode enters those. */
  faultStack: 0x5300,
  /** The stack of the stubs grows down from here, and that of handlers that CPL 3 enters ends here. */
  faultStackTop: 0x5400,
  /** The stack of handlers that CPL 3 enters grows down from here. */
  kernelStackTop: 0x6000,
  /** Interrupt descriptor table: 256 gates of 16 bytes (8 outside long mode), 0x6000–0x6fff. */
  interruptDescriptorTable: 0x6000,
  /** More page tables, for those whom the first four do not serve. */
  morePageTables: 0x7000,
  /** Address after the room for those; the stack has the 16 KiB from here on. */
  morePageTablesEnd: 0xc000,
  /** Task-state segment with an I/O permission map, 8297 bytes; the stack has what is left above. */
  taskStateSegmentWithPorts: 0xc000,
  /** The stack grows down from here. */
  stackTop: 0x10000,
  /** Where code is loaded and starts. */
  code: 0x10000,
  /** Size of the identity map of long mode, from address 0 on: far more than memory, so that the rest is MMIO. */
  identityMapSize: 1 * GIB,
  /** Size of the identity map of 32-bit modes: all that their addresses reach. */
  identityMapSize32: 4 * GIB,
  /** Default memory size in bytes. */
  memorySize: 2 * MIB,
} as const;

/** Guest-physical memory of a machine in long mode: that of {@linkcode PROTECTED_MODE}. */
export const LONG_MODE: typeof PROTECTED_MODE = PROTECTED_MODE;

/**
 * Guest-physical memory of a machine whose code must lie in the first 64 KiB though there are descriptor tables:
 * 16-bit protected mode and virtual-8086 mode. Tables lie where {@linkcode PROTECTED_MODE} has them.
 */
export const LOW_PROTECTED_MODE = {
  /** Task-state segment with an I/O permission map, where other modes have page tables. */
  taskStateSegmentWithPorts: 0x1000,
  /** The stack grows down from here. */
  stackTop: 0x8000,
  /** Where code is loaded and starts. */
  code: 0x8000,
  /** Default memory size in bytes: all that 20 address bits reach. */
  memorySize: 1 * MIB,
} as const;

/**
 * Guest-physical memory as the Linux convention has it: that of rust-vmm's virtual machine monitors, from which
 * a 64-bit Linux kernel starts at its 64-bit entry point.
 */
export const LINUX = {
  /** Global descriptor table: null, code, data, TSS. */
  globalDescriptorTable: 0x500,
  /** Interrupt descriptor table: one quadword of zeros. */
  interruptDescriptorTable: 0x520,
  /** The zero page (`struct boot_params`), which RSI points to. Nothing is written there. */
  zeroPage: 0x7000,
  /** RSP and RBP. */
  stackTop: 0x8ff0,
  /** PML4, PDPT and PD. */
  pageTables: 0x9000,
  /** Address after the room for those. */
  pageTablesEnd: 0xc000,
  /** The lowest address of a kernel's command line. */
  commandLine: 0x2_0000,
  /** Where a kernel is loaded, and starts. */
  code: 0x100000,
  /** Default memory size in bytes. */
  memorySize: 2 * MIB,
} as const;

/** Where boot loaders put the real-mode set-up code of a Linux kernel (Documentation/arch/x86/boot.rst, "Sample Boot Configuration"). */
export const LINUX_REAL_MODE = {
  /** Its first sector. */
  start: 0x9_0000,
  /** Where its heap and its stack end, and the command line begins: an offset from there. */
  heapEnd: 0xe000,
} as const;

/** RAM of a PC that its host bridge can show in place of ROM below 1 MiB. */
export const SHADOW_RAM = {
  /** The first address. */
  start: 0xc_0000,
  /** The address after the last. */
  end: 1 * MIB,
  /** What is shown or hidden at once. */
  segment: 16 * KIB,
} as const;

/** Where firmware, by default the bus itself, gives addresses to the BARs of PCI functions: from here on. */
export const PCI_WINDOWS = {
  /** I/O ports. */
  io: 0xc000,
  /** Memory. */
  memory: 0xe000_0000,
} as const;

/** Where a virtio device behind registers in memory lies by default, as guests of small monitors are told. */
export const VIRTIO_MMIO = {
  /** The physical address of its 512 bytes. */
  address: 0xd000_0000,
  /** Its interrupt. */
  irq: 5,
} as const;

/** Where firmware puts a Linux kernel that it starts by the 16-bit protocol (QEMU, `x86_load_linux`). */
export const LINUX_BY_FIRMWARE = {
  /** The real-mode part. */
  setup: 0x1_0000,
  /** The command line. */
  commandLine: 0x2_0000,
  /** The protected-mode part. */
  kernel: 0x10_0000,
} as const;

/**
 * System-management mode, as it is after reset: offsets are from SMBASE (Intel SDM Vol. 3C, 30.4; AMD APM Vol. 2,
 * 10.2).
 */
export const SYSTEM_MANAGEMENT = {
  /** SMBASE, a guest-physical address. */
  base: 0x30000,
  /** Where the handler starts. */
  entry: 0x8000,
  /** The area in which the CPU saves its state, up to the end of SMBASE's 64 KiB. */
  saveArea: 0xfe00,
  /** Bytes that belong to SMBASE. */
  size: 0x10000,
} as const;

/** Selectors of the GDT: offsets of its descriptors. */
export const SELECTOR = {
  /** Code at CPL 0, as wide as the mode; in compatibility mode the 64-bit code of its handlers. */
  code: 0x08,
  /** Data and stack at CPL 0. */
  data: 0x10,
  /** The TSS, whose descriptor has 16 bytes in long mode and 8 elsewhere. */
  task: 0x18,
  /** 32-bit code at CPL 0 in long mode (compatibility mode). */
  code32: 0x28,
  /** 32-bit code at CPL 3. */
  userCode32: 0x30,
  /** Data and stack at CPL 3. */
  userData: 0x38,
  /** 64-bit code at CPL 3: with those before it, what SYSRET expects of STAR. */
  userCode64: 0x40,
} as const;

/** The vector by which code at CPL 3 and in virtual-8086 mode asks for CPL 0. */
export const SYSTEM_CALL_VECTOR = 0x80;

/** I/O ports. */
export const PORT = {
  /** First of the two ports of the master PIC (8259A). */
  picMaster: 0x20,
  /** First of the four ports of the interval timer (8254). */
  pit: 0x40,
  /** The data port of the keyboard controller (8042). */
  i8042Data: 0x60,
  /** The command and status port of the keyboard controller. */
  i8042Command: 0x64,
  /** First of the two ports of the real-time clock (MC146818). */
  cmos: 0x70,
  /** The diagnostic port, which firmware writes its progress to. */
  postCode: 0x80,
  /** System control port A: fast A20 and reset. */
  systemControl: 0x92,
  /** The debug console of Bochs and QEMU. */
  debugConsole: 0xe9,
  /** The gate of the timer's channel 2, and of the speaker. */
  speaker: 0x61,
  /** First of the two ports of the slave PIC. */
  picSlave: 0xa0,
  /** First of the two ports of the PICs' edge and level control registers. */
  picElcr: 0x4d0,
  /** First of the eight ports of the primary ATA channel's command block. */
  ata: 0x1f0,
  /** Alternate status and device control of the primary ATA channel. */
  ataControl: 0x3f6,
  /** CONFIG_ADDRESS of PCI's configuration mechanism 1. */
  pciAddress: 0xcf8,
  /** The four ports of CONFIG_DATA. */
  pciData: 0xcfc,
  /** The selector of QEMU's firmware configuration device; its data follows, and its DMA address at 0x514. */
  fwCfg: 0x510,
  /** First of the 32 ports of a colour VGA. */
  vga: 0x3c0,
  /** First port of the serial line COM1. */
  com1: 0x3f8,
  /** First port of COM2. */
  com2: 0x2f8,
  /** First port of COM3. */
  com3: 0x3e8,
  /** First port of COM4. */
  com4: 0x2e8,
  /** First port of the ACPI power management block (PM1a event, PM1a control, timer). */
  acpiPm: 0x600,
  /** The reset control register of PCI chipsets. */
  resetControl: 0xcf9,
  /** Where a guest writes its status to end the run. */
  exit: 0xf4,
  /** Where the BIOS that the host plays is called by its stubs. */
  bios: 0xe3,
  /** Where a guest that tests itself reports, by the include file for NASM. */
  guestReport: 0xe4,
  /** The same, by the header for C. */
  guestRecord: 0xe5,
  /** Where the fault catcher's stubs write; no device of a PC is there. */
  fault: 0xbe,
} as const;

/** Memory of the text screen in colour, a guest-physical address. */
export const TEXT_SCREEN = { start: 0xb_8000, size: 0x8000 } as const;

/** Guest-physical memory of a BIOS that the host plays. */
export const BIOS = {
  /** The segment of its stubs. */
  segment: 0xf000,
  /** Offset of the stub of vector 0; each has 4 bytes. */
  stubs: 0xe000,
  /** Offset of the configuration table of INT 15h, AH=C0h. */
  configuration: 0xe6f5,
  /** Offset of the disk parameter table of INT 13h, AH=08h. */
  diskParameters: 0xefc7,
  /** The BIOS data area. */
  dataArea: 0x400,
  /** The end of conventional memory: the extended BIOS data area lies above. */
  conventionalEnd: 0x9_fc00,
} as const;

/** I/O ports of the hypercalls of a monitor for unikernels (uhyve 0.2.1, `uhyve-interface`). */
export const UNIKERNEL_PORT = {
  write: 0x400,
  open: 0x440,
  close: 0x480,
  read: 0x500,
  exit: 0x540,
  lseek: 0x580,
  netwrite: 0x640,
  netread: 0x680,
  netstat: 0x700,
  cmdsize: 0x740,
  cmdval: 0x780,
  uart: 0x800,
  unlink: 0x840,
} as const;

/** Physical address of the local APIC's registers after reset (Intel SDM Vol. 3A, 10.4.1). */
export const LOCAL_APIC = 0xfee0_0000;

/** Physical address of the IOAPIC's registers (82093AA, 3.1). */
export const IOAPIC = 0xfec0_0000;

/** Physical address of the HPET's registers (IA-PC HPET specification, 3.2.4). */
export const HPET = 0xfed0_0000;

/** Where ACPI tables lie by default: the RSDP is looked for from here on, to the end of the megabyte. */
export const ACPI_TABLES = 0xe_0000;

/** Where a processor begins after RESET#: 16 bytes below 4 GiB (Intel SDM Vol. 3A, table 10-1). */
export const RESET_VECTOR = {
  /** The selector in CS. */
  selector: 0xf000,
  /** The base of CS, which is not 16 times the selector until CS is loaded. */
  codeBase: 0xffff_0000,
  /** IP. */
  ip: 0xfff0,
} as const;

/** The highest I/O port. */
export const LAST_PORT = 0xffff;

/** The highest physical address that x86 can have: 52 bits. */
export const LAST_PHYSICAL_ADDRESS = 2 ** 52 - 1;

/**
 * Guest-physical pages that KVM takes for itself on Intel processors without unrestricted guest, near the top
 * of the first 4 GiB, where QEMU places them, so that 16 MiB are left for firmware (Documentation/virt/kvm/api.rst, 4.36
 * and 4.95). No slot may lie there.
 */
export const KVM_PRIVATE_PAGES = {
  /** The first address. */
  start: 0xfeff_c000,
  /** A page for the identity map. */
  identityMap: 0xfeff_c000,
  /** Three pages for the task state. */
  taskState: 0xfeff_d000,
  /** The address after the last. */
  end: 0xff00_0000,
} as const;
