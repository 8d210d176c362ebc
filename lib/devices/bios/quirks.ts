/** What real BIOSes do otherwise, one by one. */
export interface BiosQuirks {
  /** Calls return with IF set, though the guest has cleared it: many do after disk and memory services. */
  readonly enablesInterrupts?: boolean;
  /** Registers of which nothing is said are garbage after a call: the upper halves of EAX to EDX, and BP, SI, DI of INT 10h. */
  readonly trashesRegisters?: boolean;
  /** There are no extensions of INT 13h: disks are read by cylinder, head and sector alone. */
  readonly hasNoExtensions?: boolean;
  /** INT 15h knows no E820: memory is told by E801 and 88h alone. */
  readonly hasNoE820?: boolean;
  /** AX=E820h counts 20 bytes however many are asked for, and EBX goes up by 1; otherwise 24 where there is room. */
  readonly shortE820?: boolean;
  /** Every so many reads of a disk fail once, as of a floppy drive whose motor starts: status 80h. */
  readonly failsReadsEvery?: number;
}
