/** What every boot state with descriptor tables can be told. All of it has defaults. */
export interface ProtectionLayout {
  /** Bytes of memory from address 0 on, in which tables must fit. */
  memorySize?: number;
  /**
   * Address of the GDT, or false for none: then nothing is written, GDTR has limit 0, and segments are
   * there only in the hidden part of their registers; a guest must not load them anew. Default 0x5000.
   */
  gdt?: number | false;
  /** Address of the IDT, 256 gates, or false for none (limit 0). Default 0x6000. */
  idt?: number | false;
  /**
   * Address of the TSS, or false for none (limit 0). Default 0x5100; with an I/O permission map 0xc000, and
   * 0x1000 in virtual-8086 mode.
   */
  tss?: number | false;
  /**
   * Handlers by vector: linear addresses. Each gets an interrupt gate that CPL 3 may use; all other gates are
   * absent. Handlers run at CPL 0, and in long mode as 64-bit code.
   */
  gates?: Readonly<Record<number, number | bigint>>;
  /**
   * Whether the vectors 0 to 31 that `gates` leaves open report what comes through them: a stub for each at
   * 0x5280, which writes to port 0xbe. What the guest itself does with that port is an exit like any other. Needs a
   * GDT, an IDT and a TSS. In long mode it has a stack of its own below 0x5400. Default false.
   */
  catchFaults?: boolean;
}

/** What boot states that can start at CPL 3 can be told. */
export interface PrivilegeLayout extends ProtectionLayout {
  /**
   * The privilege level to start at. At 3 the TSS has a stack for CPL 0, the identity map's pages are user
   * pages, and, unless `gates` has another handler, `int 0x80` enters one that executes HLT at CPL 0 and returns.
   * Default 0.
   */
  cpl?: 0 | 3;
  /** Whether code at CPL 3 may use all I/O ports: the TSS has an I/O permission map that says so. Default true. */
  ioPermission?: boolean;
}
