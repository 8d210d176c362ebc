import type { IoctlName } from "./abi/ioctls.ts";

/** KVM refused one MSR of a list; it takes them in order, and stops there. */
export class MsrError extends Error {
  /** The name that reporters print. */
  override readonly name = "MsrError";
  /** The ioctl: `"KVM_SET_MSRS"` or `"KVM_GET_MSRS"`. */
  readonly ioctl: IoctlName;
  /** The number of the MSR that was refused. */
  readonly index: number;
  /** Its place in the list, from 0: as many were done before it. */
  readonly position: number;
  /** The value that was to be set; undefined for KVM_GET_MSRS. */
  readonly data: bigint | undefined;
  /** The numbers of the MSRs before it: they were read, or set. */
  readonly done: readonly number[];
  /** The numbers of the MSRs behind it: KVM did not come to them. */
  readonly notTried: readonly number[];

  /**
   * The refusal of one MSR.
   *
   * @param list The MSRs that were asked for.
   * @param position Of the one that was refused.
   * @param data The value that was to be set, where one was.
   * @param name What the MSR is called, where that is known.
   */
  constructor(
    ioctl: IoctlName,
    list: readonly number[],
    position: number,
    data?: bigint,
    name?: string,
  ) {
    const msr = `MSR 0x${list[position].toString(16)}${name === undefined ? "" : ` ${name}`}`;
    super(
      data === undefined
        ? `${ioctl} refused ${msr}, ${
          position + 1
        } of ${list.length}: this vCPU does not have it, or does not ` +
          "let it be read. Ask Kvm.getMsrIndexList() for those it can have."
        : `${ioctl} refused ${msr} = 0x${data.toString(16)}, ${
          position + 1
        } of ${list.length}: this vCPU does not ` +
          `have it (its CPUID decides), or not with this value. ${done(position)}`,
    );
    this.ioctl = ioctl;
    this.index = list[position];
    this.position = position;
    this.data = data;
    this.done = list.slice(0, position);
    this.notTried = list.slice(position + 1);
  }
}

function done(position: number): string {
  if (position === 0) return "None was set.";
  return position === 1 ? "The one before it is set." : `The ${position} before it are set.`;
}
