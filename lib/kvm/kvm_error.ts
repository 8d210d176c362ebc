import { errnoName } from "../ffi/errno.ts";

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
