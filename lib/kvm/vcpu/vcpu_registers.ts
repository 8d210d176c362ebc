import type { Writable } from "../../ffi/struct.ts";
import { ERRNO } from "../../ffi/errors.ts";
import { KVM_REG } from "../abi/constants.ts";
import {
  kvm_debugregs,
  kvm_regs,
  kvm_sregs,
  kvm_sregs2,
  type KvmDebugregs,
  type KvmRegs,
  type KvmSregs,
  type KvmSregs2,
} from "../abi/structs/registers.ts";
import {
  kvm_one_reg,
  kvm_reg_list,
  kvm_translation,
  type KvmTranslation,
} from "../abi/structs/vcpu.ts";
import { type IoctlTarget, structBytes, structWithData } from "../ioctl_target.ts";
import { KvmError } from "../errors.ts";
import type { KvmRunPage } from "../kvm_run_page.ts";

/** Where CR8 lies in `struct kvm_sregs`. */
const CR8 = kvm_sregs.offsetOf("cr8");

/** The most bytes of a register by id: KVM_REG_SIZE_U2048. */
const MOST_REGISTER_SIZE = 256;

/**
 * The registers of a vCPU as structures. `Machine.registers` has them by name, and costs fewer ioctls. Each
 * throws a KvmError when the kernel refuses.
 */
export class VcpuRegisters {
  readonly #target: IoctlTarget;
  readonly #kvmRun: KvmRunPage;

  /** Use {@linkcode Vcpu.registers}. */
  constructor(target: IoctlTarget, kvmRun: KvmRunPage) {
    this.#target = target;
    this.#kvmRun = kvmRun;
  }

  /** General registers, `rip` and `rflags` (`KVM_GET_REGS`, api.rst 4.11). */
  getRegs(): KvmRegs;
  /** The same as they are: fills `bytes`, a `struct kvm_regs`. */
  getRegs(bytes: Uint8Array<ArrayBuffer>): void;
  getRegs(bytes?: Uint8Array<ArrayBuffer>): KvmRegs | void {
    if (bytes === undefined) return this.#target.get("KVM_GET_REGS", kvm_regs);
    this.#target.call("KVM_GET_REGS", bytes);
  }

  /**
   * Sets them all (`KVM_SET_REGS`, api.rst 4.12).
   *
   * @param registers Those left out become 0; or the bytes of a `struct kvm_regs`.
   */
  setRegs(registers: Writable<KvmRegs> | Uint8Array<ArrayBuffer>): void {
    this.#target.set("KVM_SET_REGS", kvm_regs, registers);
  }

  /** Has the next run set them, by `kvm_run`: see {@linkcode Vcpu.takesRegisters}. */
  leaveRegs(bytes: Uint8Array<ArrayBuffer>): void {
    this.#kvmRun.leaveRegs(bytes);
    this.#target.observer?.("KVM_SET_REGS", bytes);
  }

  /** Segments, tables, control registers and pending interrupts (`KVM_GET_SREGS`, api.rst 4.13). */
  getSregs(): KvmSregs;
  /** The same as they are: fills `bytes`, a `struct kvm_sregs`. */
  getSregs(bytes: Uint8Array<ArrayBuffer>): void;
  getSregs(bytes?: Uint8Array<ArrayBuffer>): KvmSregs | void {
    if (bytes === undefined) return this.#target.get("KVM_GET_SREGS", kvm_sregs);
    this.#target.call("KVM_GET_SREGS", bytes);
  }

  /**
   * Sets them all (`KVM_SET_SREGS`, api.rst 4.14), and `kvm_run.cr8` with them: where the local APIC is not in the
   * kernel, KVM takes CR8 from there at each run.
   *
   * @param registers Those left out become 0; or the bytes of a `struct kvm_sregs`.
   */
  setSregs(registers: Writable<KvmSregs> | Uint8Array<ArrayBuffer>): void {
    const bytes = structBytes(kvm_sregs, registers);
    this.#target.call("KVM_SET_SREGS", bytes);
    this.#kvmRun.cr8 = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(CR8, true);
  }

  /**
   * As {@linkcode VcpuRegisters.getSregs}, with the PAE page-directory pointers in place of the interrupts
   * (`KVM_GET_SREGS2`, api.rst 4.131).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getSregs2(): KvmSregs2 {
    return this.#target.get("KVM_GET_SREGS2", kvm_sregs2);
  }

  /**
   * Sets them all as {@linkcode VcpuRegisters.setSregs} does; those left out become 0 (`KVM_SET_SREGS2`, api.rst
   * 4.132).
   *
   * @param registers Numbers of 64 bits, and the hidden parts of segments.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  setSregs2(registers: Writable<KvmSregs2>): void {
    this.#target.set("KVM_SET_SREGS2", kvm_sregs2, registers);
    this.#kvmRun.cr8 = BigInt(registers.cr8 ?? 0);
  }

  /** DR0–DR3, DR6 and DR7 (`KVM_GET_DEBUGREGS`, api.rst 4.33). @throws {CapabilityError} */
  getDebugregs(): KvmDebugregs {
    return this.#target.get("KVM_GET_DEBUGREGS", kvm_debugregs);
  }

  /**
   * Sets them all; those left out become 0 (`KVM_SET_DEBUGREGS`, api.rst 4.34).
   *
   * @param registers `db` are DR0 to DR3.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  setDebugregs(registers: Writable<KvmDebugregs>): void {
    this.#target.set("KVM_SET_DEBUGREGS", kvm_debugregs, registers);
  }

  /**
   * Where the guest's page tables, as the vCPU stands, put a linear address (`KVM_TRANSLATE`, api.rst
   * 4.15).
   *
   * @param linearAddress Above 2^53 only a bigint is exact.
   * @returns `valid` is 0 where they put it nowhere.
   */
  translate(linearAddress: number | bigint): KvmTranslation {
    const value = { linear_address: linearAddress };
    return this.#target.get("KVM_TRANSLATE", kvm_translation, value);
  }

  /**
   * The ids that {@linkcode VcpuRegisters.getOneReg} takes (`KVM_GET_REG_LIST`, api.rst 4.84).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getRegList(): bigint[] {
    const count = structBytes(kvm_reg_list, {});
    try {
      this.#target.call("KVM_GET_REG_LIST", count);
      return [];
    } catch (error) {
      if (!(error instanceof KvmError) || error.errno !== ERRNO.E2BIG) throw error;
    }
    const n = new DataView(count.buffer).getBigUint64(kvm_reg_list.offsetOf("n"), true);
    const bytes = structBytes(kvm_reg_list, { n }, Number(n));
    this.#target.call("KVM_GET_REG_LIST", bytes);
    return kvm_reg_list.read(new DataView(bytes.buffer)).reg;
  }

  /**
   * A register's bytes by its id, of `KVM_REG` and `KVM_X86_REG_TYPE` (`KVM_GET_ONE_REG`, api.rst 4.69).
   *
   * @param id With its size in it: bits of `KVM_REG`.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getOneReg(id: bigint): Uint8Array<ArrayBuffer> {
    const size = registerSize(id);
    const { bytes, dataStart } = this.#oneReg(id, size);
    this.#target.call("KVM_GET_ONE_REG", bytes, { context: `on register 0x${id.toString(16)}` });
    return bytes.slice(dataStart);
  }

  /**
   * Sets a register by its id (`KVM_SET_ONE_REG`, api.rst 4.68).
   *
   * @param id With its size in it: bits of `KVM_REG`.
   * @param value As many bytes as that says.
   * @throws {CapabilityError} When the kernel lacks the capability.
   * @throws {RangeError} When it has another size.
   */
  setOneReg(id: bigint, value: Uint8Array): void {
    const size = registerSize(id);
    if (value.length !== size) {
      throw new RangeError(
        `Cannot set register 0x${id.toString(16)} from ${value.length} bytes: its id says ${size}`,
      );
    }
    const { bytes, dataStart } = this.#oneReg(id, size);
    bytes.set(value, dataStart);
    this.#target.call("KVM_SET_ONE_REG", bytes, { context: `on register 0x${id.toString(16)}` });
  }

  #oneReg(id: bigint, size: number) {
    const place = structWithData(this.#target.libc, kvm_one_reg.size, size);
    const view = new DataView(place.bytes.buffer);
    kvm_one_reg.write(view, 0, { id, addr: place.dataAddress });
    return place;
  }
}

function registerSize(id: bigint): number {
  const size = 2 ** Number((id & KVM_REG.SIZE_MASK) >> KVM_REG.SIZE_SHIFT);
  if (size <= MOST_REGISTER_SIZE) return size;
  throw new RangeError(
    `Cannot use 0x${id.toString(16)} as a register's id: the size in it is 2^${
      Math.log2(size)
    } bytes, and ` +
      `a register has up to ${MOST_REGISTER_SIZE}`,
  );
}
