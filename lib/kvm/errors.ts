import { errnoName, HostError } from "../ffi/errors.ts";
import { CAPABILITIES, type CapabilityName } from "./abi/capabilities.ts";
import { type IoctlName, IOCTLS } from "./abi/ioctls.ts";

/**
 * What an errno of an ioctl tends to mean, where that is more than its name says. Keys: `IOCTL ERRNO`, then
 * `ERRNO`.
 */
const LIKELY_CAUSE: Record<string, string> = {
  "KVM_CREATE_VM ENOMEM": "the host is short of memory",
  "KVM_CREATE_VM EBUSY": "another hypervisor on this host uses the virtualization extension",
  "KVM_CREATE_VCPU EEXIST": "the VM has a vCPU of that id already",
  "KVM_CREATE_VCPU EINVAL": "the id is beyond what KVM_CAP_MAX_VCPU_ID allows",
  "KVM_CREATE_IRQCHIP EEXIST": "the VM has an interrupt controller already",
  "KVM_CREATE_IRQCHIP EINVAL": "it must be created before the first vCPU",
  "KVM_SET_USER_MEMORY_REGION EEXIST": "the slot overlaps another one",
  "KVM_SET_USER_MEMORY_REGION EINVAL":
    "the slot's number, flags, alignment or address is not one that this kernel takes, or it changes a slot's size",
  "KVM_SET_USER_MEMORY_REGION ENOMEM": "the host is short of memory for the slot's bookkeeping",
  "KVM_SET_SREGS EINVAL":
    "the special registers contradict each other (CR0.PG, CR4.PAE and EFER.LMA must agree), or set a bit that this CPU does not have",
  "KVM_SET_XCRS EINVAL":
    "XCR0 wants X87 always, SSE where it has AVX, and AVX where it has the three of AVX-512, and no bit that CPUID leaf 0xD does not offer",
  "KVM_SET_XSAVE EINVAL":
    "the area's XSTATE_BV has a component, or MXCSR a bit, that this CPU does not have",
  "KVM_SET_DEBUGREGS EINVAL": "DR6 or DR7 has a bit in its upper half",
  "KVM_RUN EFAULT": "the guest touched memory that a slot promises and this process does not have",
  "KVM_RUN EINVAL": "the vCPU's state is not one that KVM can run",
  "KVM_RUN ENOEXEC": "the vCPU is not initialized",
  "KVM_GET_LAPIC EINVAL":
    "the VM has no interrupt controllers: call createIrqchip() before the first vCPU",
  "KVM_SET_LAPIC EINVAL":
    "the VM has no interrupt controllers: call createIrqchip() before the first vCPU",
  "KVM_SET_MP_STATE EINVAL":
    "the VM has no local APIC; or INIT and SIPI wait: the vCPU is in system-management mode, or a hypervisor that blocks them (SVM without GIF, VMX operation)",
  "KVM_INTERRUPT ENXIO": "the kernel has the interrupt controllers: raise one of their lines",
  "KVM_CREATE_PIT2 ENOENT": "the VM has no interrupt controllers: call createIrqchip() first",
  "KVM_CREATE_PIT2 EEXIST": "the VM has a timer already",
  "KVM_GET_PIT2 ENXIO": "the VM has no timer: call createPit2() first",
  "KVM_SET_PIT2 ENXIO": "the VM has no timer: call createPit2() first",
  "KVM_REINJECT_CONTROL ENXIO": "the VM has no timer: call createPit2() first",
  "KVM_SET_BOOT_CPU_ID EBUSY": "the VM has a vCPU already",
  "KVM_GET_DIRTY_LOG ENOENT": "the slot does not log its pages (`logDirtyPages`)",
  "KVM_RESET_DIRTY_RINGS EINVAL":
    "the VM has no dirty rings: enable KVM_CAP_DIRTY_LOG_RING before the first vCPU",
  "KVM_KVMCLOCK_CTRL EINVAL": "the guest has not set up kvmclock",
  "KVM_CREATE_DEVICE ENODEV": "this kernel has no device of that type, or its module is not loaded",
  "KVM_MEMORY_ENCRYPT_OP ENOTTY": "this host has no confidential VMs, or this VM is none",
  "KVM_MEMORY_ENCRYPT_REG_REGION ENOTTY": "this host has no confidential VMs, or this VM is none",
  "KVM_MEMORY_ENCRYPT_UNREG_REGION ENOTTY": "this host has no confidential VMs, or this VM is none",
  EMFILE:
    "this process has too many open files: dispose machines that are done (`using vm = boot(…)`), or raise `ulimit -n`",
  ENFILE: "this host has too many open files",
  ENOTTY: "this kernel does not know this ioctl",
  EPERM: "this process is not permitted to, or its memory was not allowed to be locked",
  EBADF: "the file descriptor is closed",
};

/**
 * KVM refused an ioctl. The message has the ioctl's name, errno's name and the likely cause; the fields have
 * the same for programs.
 *
 * @example
 * ```ts
 * import { KvmError } from "@vmexit/vmexit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const error = new KvmError("KVM_CREATE_VM", 24);
 * assertStringIncludes(error.message, "KVM_CREATE_VM failed with EMFILE");
 * ```
 */
export class KvmError extends Error {
  /** The name that reporters print. */
  override readonly name = "KvmError";
  /** The ioctl, by the name it has in `<linux/kvm.h>`. */
  readonly ioctl: string;
  /** What it left in errno. */
  readonly errno: number;

  /**
   * The error of one ioctl.
   *
   * @param context What was being done, where the ioctl's name does not say it.
   */
  constructor(ioctl: string, errno: number, context?: string) {
    const name = errnoName(errno);
    const cause = LIKELY_CAUSE[`${ioctl} ${name}`] ?? LIKELY_CAUSE[name];
    super(
      `${ioctl} failed with ${name} (${errno})` +
        (context === undefined ? "" : ` ${context}`) +
        (cause === undefined ? "" : `: ${cause}`),
    );
    this.ioctl = ioctl;
    this.errno = errno;
  }
}

/**
 * An ioctl was refused before the kernel was asked: `KVM_CHECK_EXTENSION` says that this host's KVM lacks
 * the capability that the ioctl needs. A test can catch it to skip by name and reason.
 *
 * @example
 * ```ts
 * import { CapabilityError } from "@vmexit/vmexit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const error = new CapabilityError("KVM_GET_SREGS2", "KVM_CAP_SREGS2");
 * assertStringIncludes(error.message, "KVM_GET_SREGS2: this host's KVM lacks KVM_CAP_SREGS2");
 * ```
 */
export class CapabilityError extends HostError {
  /** The ioctl, by the name it has in `<linux/kvm.h>`. */
  readonly ioctl: IoctlName;
  /** What the host's KVM lacks. */
  readonly capability: CapabilityName;

  /** The refusal of one ioctl. */
  constructor(ioctl: IoctlName, capability: CapabilityName) {
    const since = IOCTLS[ioctl].since ?? CAPABILITIES[capability].since;
    super(
      `Cannot call ${ioctl}: this host's KVM lacks ${capability}. ` +
        (since === undefined
          ? "Its CPU, or the kernel's configuration, does not offer it."
          : `It takes Linux ${since} or newer, and a CPU and a kernel configuration that offer it.`),
    );
    this.ioctl = ioctl;
    this.capability = capability;
  }
}

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
