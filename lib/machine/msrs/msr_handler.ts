import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";
import { hex } from "../../x86/hex.ts";
import { msrText } from "../../x86/msr_number.ts";

/** What a handler of an MSR returns to give the guest #GP, as an MSR does that the CPU lacks. */
export const generalProtection: unique symbol = Symbol("#GP");

/** Answers a guest's accesses to MSRs. Those that it has no method for go to the vCPU as ever. */
export interface MsrHandler {
  /** What to call it in tables of exits and in failure pages. */
  readonly name?: string;
  /** Answers RDMSR: with the value, or with {@linkcode generalProtection}. */
  read?(msr: number): number | bigint | typeof generalProtection;
  /**
   * Takes the value of a WRMSR, which does not reach the vCPU's own MSR; {@linkcode generalProtection}
   * refuses it.
   */
  write?(msr: number, value: bigint): void | typeof generalProtection;
}

const MSR_BITS = 64;

/**
 * Hands an X86_RDMSR to its handler, and writes the answer into `kvm_run`.
 *
 * @throws {RangeError} When the handler returns what no MSR can hold. The exit still waits then.
 */
export function answerRead(kvmRun: KvmRunPage, handler: MsrHandler): true {
  const msr = kvmRun.msrIndex;
  const value = handler.read!(msr);
  if (value === generalProtection) return refuse(kvmRun);
  const isWhole = typeof value === "bigint"
    ? BigInt.asUintN(MSR_BITS, value) === value
    : Number.isSafeInteger(value) && value >= 0;
  if (!isWhole) {
    throw new RangeError(
      `Cannot answer a read of MSR ${msrText(msr)} as ${
        typeof value === "bigint" || Number.isInteger(value) ? hex(value) : String(value)
      }: what ${
        handler.name ?? "handler"
      } returned is not a whole number of ${MSR_BITS} bits. Return one (above 2^53 - 1 a bigint), or generalProtection; ` +
        "the read still waits: the machine can be run on once its handler does.",
    );
  }
  kvmRun.msrData = BigInt(value);
  kvmRun.msrError = 0;
  return true;
}

/** Hands an X86_WRMSR to its handler, and writes the answer into `kvm_run`. */
export function answerWrite(kvmRun: KvmRunPage, handler: MsrHandler): true {
  const answer = handler.write!(kvmRun.msrIndex, kvmRun.msrData);
  if (answer === generalProtection) return refuse(kvmRun);
  kvmRun.msrError = 0;
  return true;
}

/** Answers the exit with #GP. */
export function refuse(kvmRun: KvmRunPage): true {
  kvmRun.msrError = 1;
  return true;
}
