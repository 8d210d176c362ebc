import { ERRNO, errnoName, HostError } from "../ffi/errors.ts";
import { O } from "../ffi/files.ts";
import type { Libc } from "../ffi/libc.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { OwnedFd } from "../ffi/handles.ts";
import { CAPABILITIES, type CapabilityName } from "./abi/capabilities.ts";
import type { KvmCpuidEntry2 } from "./abi/structs/cpuid.ts";
import type { KvmMsrEntry } from "./abi/structs/msr.ts";
import { cpuidEntries, supportedCpuid } from "./vcpu/vcpu_cpuid.ts";
import { DeviceAttributes } from "./device.ts";
import { ioctl, IoctlTarget } from "./ioctl_target.ts";
import { msrIndices, readMsrs } from "./vcpu/vcpu_msrs.ts";
import { kvmLibc } from "./remote/kvm_choice.ts";
import { type GivenVm, Vm } from "./vm.ts";

/** Where the kernel offers KVM. */
export const KVM_DEVICE = "/dev/kvm";

/**
 * The only API version there has been since 2007; anything else must be refused
 * (Documentation/virt/kvm/api.rst, 4.1).
 */
export const KVM_API_VERSION = 12;

const MACHINE_TYPE_DEFAULT = 0;

/** The page of `kvm_run`, and the page behind it with the data of port exits. */
const LEAST_VCPU_MMAP_SIZE = 2 * PAGE_SIZE;

const REMEDIES =
  "Either enable virtualization (VT-x or AMD-V) in the firmware and load kvm_intel or kvm_amd; " +
  "or, in a virtual machine, have its host enable nested virtualization; " +
  "or run the tests with `vmexit test`, which brings a KVM of its own inside QEMU.";

/**
 * The host's KVM: `/dev/kvm`, open.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * console.log(kvm.capability("KVM_CAP_NR_MEMSLOTS"));
 * ```
 */
export class Kvm implements Disposable {
  readonly #libc: Libc;
  readonly #fd: OwnedFd;
  readonly #target: IoctlTarget;
  /**
   * Attributes of KVM itself, gated by KVM_CAP_SYS_ATTRIBUTES: `KVM_X86.GRP_SYSTEM` and `KVM_X86.GRP_SEV`
   * are their groups. It has none that can be set.
   */
  readonly attributes: DeviceAttributes;

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = new OwnedFd(libc, fd, KVM_DEVICE);
    this.#target = new IoctlTarget(libc, this.#fd, (name) => this.capability(name));
    this.attributes = new DeviceAttributes(this.#target, "KVM_CAP_SYS_ATTRIBUTES");
  }

  /**
   * Opens `/dev/kvm` and checks the API's version.
   *
   * @param libc Another C library, for tests that inject faults.
   * @throws {HostError} When there is none, or this user may not use it; the message says what to do.
   * @throws {Deno.errors.NotCapable} When FFI is not permitted.
   */
  static open(libc: Libc = kvmLibc()): Kvm {
    const fd = libc.open(KVM_DEVICE, O.RDWR | O.CLOEXEC);
    if (fd < 0) throw openError(libc.errno());
    using cleanup = new DisposableStack();
    const kvm = cleanup.use(new Kvm(libc, fd));
    const version = ioctl(libc, kvm.#fd, "KVM_GET_API_VERSION");
    if (version !== KVM_API_VERSION) {
      throw new HostError(
        `Cannot use ${KVM_DEVICE}: its API version is ${version}, and vmexit speaks ${KVM_API_VERSION} only. ` +
          "Is this Linux 2.6.22 or newer?",
      );
    }
    cleanup.move();
    return kvm;
  }

  /** Takes ownership of an open `/dev/kvm`, which {@linkcode Kvm.give} gave. */
  static take(libc: Libc, fd: number): Kvm {
    return new Kvm(libc, fd);
  }

  /**
   * Gives its descriptor to another owner: it is disposed then, and nothing is closed.
   *
   * @throws {TypeError} Once it is disposed.
   */
  give(): number {
    return this.#fd.give();
  }

  /**
   * What the kernel says of a capability (`KVM_CHECK_EXTENSION`): 0 where it lacks it, else 1 or more; some
   * are numbers with a meaning of their own.
   *
   * @param name With `KVM_CAP_`.
   */
  capability(name: CapabilityName): number {
    return ioctl(this.#libc, this.#fd, "KVM_CHECK_EXTENSION", CAPABILITIES[name].number, name);
  }

  /**
   * The size of the mapping that each vCPU shares with this process, in bytes (`KVM_GET_VCPU_MMAP_SIZE`).
   *
   * @throws {HostError} When it is too small.
   */
  get vcpuMmapSize(): number {
    const size = ioctl(this.#libc, this.#fd, "KVM_GET_VCPU_MMAP_SIZE");
    if (size >= LEAST_VCPU_MMAP_SIZE) return size;
    throw new HostError(
      `Cannot use ${KVM_DEVICE}: it says that the vCPU's mapping has ${size} bytes, and kvm_run with its port data ` +
        `takes ${LEAST_VCPU_MMAP_SIZE}. Is it a KVM for x86?`,
    );
  }

  /**
   * What CPUID can answer in a guest, as {@linkcode VcpuCpuid.setCpuid2} takes it (`KVM_GET_SUPPORTED_CPUID`, api.rst
   * 4.46).
   *
   * @returns One object as long as the kernel answers the same; it cannot be changed.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getSupportedCpuid(): readonly Readonly<KvmCpuidEntry2>[] {
    return supportedCpuid(this.#target);
  }

  /**
   * What KVM emulates although the CPU lacks it, at some cost (`KVM_GET_EMULATED_CPUID`, api.rst 4.88).
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getEmulatedCpuid(): KvmCpuidEntry2[] {
    return cpuidEntries(this.#target, "KVM_GET_EMULATED_CPUID");
  }

  /**
   * The Hyper-V leaves that KVM can answer (`KVM_GET_SUPPORTED_HV_CPUID`, api.rst 4.118).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getSupportedHvCpuid(): KvmCpuidEntry2[] {
    const capability = "KVM_CAP_SYS_HYPERV_CPUID";
    return cpuidEntries(this.#target, "KVM_GET_SUPPORTED_HV_CPUID", { capability });
  }

  /**
   * The numbers of the MSRs that a vCPU can have, those of the guest's state (`KVM_GET_MSR_INDEX_LIST`,
   * api.rst 4.3).
   */
  getMsrIndexList(): number[] {
    return msrIndices(this.#target, "KVM_GET_MSR_INDEX_LIST");
  }

  /**
   * The numbers of the MSRs that say what the host offers (`KVM_GET_MSR_FEATURE_INDEX_LIST`, api.rst 4.3).
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getMsrFeatureIndexList(): number[] {
    return msrIndices(this.#target, "KVM_GET_MSR_FEATURE_INDEX_LIST");
  }

  /**
   * What the host offers, by MSRs of {@linkcode Kvm.getMsrFeatureIndexList} (`KVM_GET_MSRS`, api.rst 4.18).
   *
   * @param indices Their numbers.
   * @throws {MsrError} When one of them is no feature MSR; it says which.
   * @throws {CapabilityError} When the kernel lacks the capability.
   *
   * @example What VMX offers to a guest
   * ```ts no-eval
   * import { Kvm } from "@vmexit/vmexit/kvm";
   * import { decodeVmxBasic } from "@vmexit/vmexit/vmx";
   * import { msrNumber } from "@vmexit/vmexit/x86";
   *
   * using kvm = Kvm.open();
   * const [basic] = kvm.getMsrs([msrNumber("IA32_VMX_BASIC")]);
   * console.log(decodeVmxBasic(basic.data).regionSize);
   * ```
   */
  getMsrs(indices: readonly number[]): KvmMsrEntry[] {
    return readMsrs(this.#target, indices, { capability: "KVM_CAP_GET_MSR_FEATURES" });
  }

  /**
   * What of machine checks a vCPU can have: bits of MCG_CAP (`KVM_X86_GET_MCE_CAP_SUPPORTED`, api.rst
   * 4.104).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  x86GetMceCapSupported(): bigint {
    return this.#target.getU64("KVM_X86_GET_MCE_CAP_SUPPORTED");
  }

  /**
   * Creates a virtual machine without memory and vCPUs (`KVM_CREATE_VM`).
   *
   * @throws {KvmError} When the kernel refuses.
   */
  createVm(): Vm {
    const mmapSize = this.vcpuMmapSize;
    const fd = ioctl(this.#libc, this.#fd, "KVM_CREATE_VM", MACHINE_TYPE_DEFAULT);
    return this.takeVm({ fd, vcpuMmapSize: mmapSize });
  }

  /** Takes ownership of a VM, which {@linkcode Vm.give} gave. */
  takeVm(given: GivenVm): Vm {
    return new Vm(this.#libc, given, (name) => capabilityOfHost(this.#libc, name));
  }

  /** Closes `/dev/kvm`; a second call does nothing. VMs made from it live on. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** Asks through a descriptor of its own, for what has outlived the {@linkcode Kvm} that it came from. */
function capabilityOfHost(libc: Libc, name: CapabilityName): number {
  using kvm = Kvm.open(libc);
  return kvm.capability(name);
}

/** What a host has run out of, by errno. */
const RESOURCE = { [ERRNO.ENFILE]: "open files", [ERRNO.ENOMEM]: "memory" } as const;

function openError(errno: number): HostError {
  const failed = `Cannot open ${KVM_DEVICE} (${errnoName(errno)})`;
  switch (errno) {
    case ERRNO.ENOENT:
    case ERRNO.ENODEV:
    case ERRNO.ENXIO:
      return new HostError(`${failed}: this machine has no KVM. ${REMEDIES}`);
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return new HostError(
        `${failed}: this user may not use it. Join its group (sudo usermod -aG kvm $USER, then log in again), ` +
          'or, where there is no such group, add a udev rule: KERNEL=="kvm", GROUP="kvm", MODE="0666". ' +
          "In a container, pass --device /dev/kvm.",
      );
    case ERRNO.EMFILE:
      return new HostError(
        `${failed}: this process has too many open files. Dispose machines that are done (using vm = boot(…)), ` +
          "or raise `ulimit -n`.",
      );
    case ERRNO.ENFILE:
    case ERRNO.ENOMEM:
      return new HostError(`${failed}: this host is out of ${RESOURCE[errno]}.`);
    default:
      return new HostError(`${failed}: ${REMEDIES}`);
  }
}
