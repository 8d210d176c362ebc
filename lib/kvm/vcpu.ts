import { ERRNO } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { OwnedFd } from "../ffi/owned_fd.ts";
import type { Pages } from "../ffi/pages.ts";
import { EXIT_REASON } from "./abi/exit_reasons.ts";
import { IOCTLS } from "./abi/ioctls.ts";
import { kvm_guest_debug } from "./abi/structs/debug.ts";
import { ioctl } from "./ioctl.ts";
import { KvmError } from "./kvm_error.ts";
import { KvmRunPage } from "./kvm_run_page.ts";

const KVM_RUN = IOCTLS.KVM_RUN.number;

/**
 * One virtual CPU: the file descriptor that `KVM_CREATE_VCPU` returned, and the `kvm_run` structure that the kernel shares through it.
 * The kernel wants its ioctls from the thread that made it (Documentation/virt/kvm/api.rst, 1).
 */
export class Vcpu implements Disposable {
  readonly #libc: Libc;
  readonly #fd: OwnedFd;
  readonly #mapping: Mapping;
  /** Keeps the VM's memory from being collected: the kernel writes to it as long as a vCPU can run. */
  readonly memory: ReadonlyMap<number, Pages>;
  /** The id that the VM gave it. */
  readonly id: number;
  /** The structure in which the kernel says why the guest was left. */
  readonly kvmRun: KvmRunPage;

  /** Use {@linkcode Vm.createVcpu}. Takes ownership of `fd`, and closes it when the mapping fails. */
  constructor(
    libc: Libc,
    fd: number,
    id: number,
    mmapSize: number,
    memory: ReadonlyMap<number, Pages>,
  ) {
    using cleanup = new DisposableStack();
    this.#libc = libc;
    this.id = id;
    this.memory = memory;
    this.#fd = cleanup.use(new OwnedFd(libc, fd, `vCPU ${id}`));
    this.#mapping = cleanup.use(new Mapping(libc, fd, mmapSize, `kvm_run of vCPU ${id}`));
    this.kvmRun = new KvmRunPage(this.#mapping);
    cleanup.move();
  }

  /**
   * Enters the guest until its next exit.
   *
   * @returns 0 when {@linkcode Vcpu.kvmRun} holds an exit, or EINTR when a signal, or `immediateExit`, ended the call: it is never retried here, or
   * nothing could stop the vCPU.
   * @throws {KvmError} On every other errno. KVM_EXIT_MEMORY_FAULT is an exit, although the ioctl fails with it.
   */
  run(): number {
    const { kvmRun } = this;
    const fd = this.#fd.number;
    kvmRun.exitReason = EXIT_REASON.UNKNOWN;
    if (this.#libc.ioctl(fd, KVM_RUN, 0) === 0) return 0;
    const errno = this.#libc.errno();
    if (errno === ERRNO.EINTR) return errno;
    if (kvmRun.exitReason === EXIT_REASON.MEMORY_FAULT) return 0;
    throw new KvmError("KVM_RUN", errno, `on vCPU ${this.id}`);
  }

  /** Fills `registers`, a `struct kvm_regs`. */
  getRegisters(registers: Uint8Array<ArrayBuffer>): void {
    ioctl(this.#libc, this.#fd, "KVM_GET_REGS", registers);
  }

  /** Sets the registers from `registers`, a `struct kvm_regs`. */
  setRegisters(registers: Uint8Array<ArrayBuffer>): void {
    ioctl(this.#libc, this.#fd, "KVM_SET_REGS", registers);
  }

  /** Fills `registers`, a `struct kvm_sregs`. */
  getSpecialRegisters(registers: Uint8Array<ArrayBuffer>): void {
    ioctl(this.#libc, this.#fd, "KVM_GET_SREGS", registers);
  }

  /** Sets the special registers from `registers`, a `struct kvm_sregs`. */
  setSpecialRegisters(registers: Uint8Array<ArrayBuffer>): void {
    ioctl(this.#libc, this.#fd, "KVM_SET_SREGS", registers);
  }

  /** Sets what CPUID answers, from `cpuid`, a `struct kvm_cpuid2` with its entries. */
  setCpuid(cpuid: Uint8Array<ArrayBuffer>): void {
    ioctl(this.#libc, this.#fd, "KVM_SET_CPUID2", cpuid);
  }

  /** Sets what ends in a DEBUG exit: flags of `KVM_GUESTDBG`. */
  setGuestDebug(control: number): void {
    const bytes = new Uint8Array(kvm_guest_debug.size);
    kvm_guest_debug.write(new DataView(bytes.buffer), 0, { control });
    ioctl(this.#libc, this.#fd, "KVM_SET_GUEST_DEBUG", bytes);
  }

  /** Unmaps `kvm_run` and closes the vCPU; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#fd[Symbol.dispose]();
  }
}
