/** The registers of one of the two PICs (8259A) by their names; lines from 0 to 7. */
export interface PicState {
  /** The interrupt request register: the lines that wait. */
  readonly irr: readonly number[];
  /** The in-service register: the lines that are being handled. */
  readonly isr: readonly number[];
  /** The interrupt mask register: the lines that are masked. */
  readonly imr: readonly number[];
  /** The lines that are level-triggered (ELCR). */
  readonly elcr: readonly number[];
  /** The vector of line 0 (ICW2). */
  readonly vectorBase: number;
  /** Whether it ends interrupts by itself (ICW4.AEOI). */
  readonly autoEoi: boolean;
  /** The line of lowest priority: 7, unless priorities were rotated (OCW2). */
  readonly lowestPriority: number;
  /** Whether lines that are masked hold back no others, though in service (OCW3, special mask mode). */
  readonly specialMask: boolean;
}

const LINES = 8;

/** The lines whose bits are set in a register. */
export function picLines(bits: number): number[] {
  return Array.from({ length: LINES }, (_, line) => line).filter((line) =>
    (bits >> line & 1) !== 0
  );
}
