import { disassemble } from "../../guest/disassemble.ts";
import type { CodeBits } from "../../x86/boot/cpu_state.ts";
import type { Image } from "../../guest/image.ts";
import {
  type DescribedFault,
  describeFault,
  faultName,
  type InterruptName,
} from "../../x86/exceptions/describe_fault.ts";
import type { ExceptionName } from "../../x86/exceptions/exceptions.ts";
import type { PageWalk } from "../../x86/paging/page_walk.ts";

/** What the catcher read of a fault. */
export interface FaultRecord extends DescribedFault {
  /** The instruction pointer that the CPU saved: at the instruction, or, of a trap, behind it. */
  readonly rip: bigint;
  /** The selector in CS. */
  readonly cs: number;
  /** RFLAGS. */
  readonly rflags: bigint;
  /** The stack pointer. */
  readonly rsp: bigint;
  /** The selector in SS. */
  readonly ss: number;
  /** The privilege level of the code. */
  readonly cpl: number;
  /** How wide the code is. */
  readonly bits: CodeBits;
  /** The bytes of memory from the instruction on, as far as they are mapped, at most 15. */
  readonly bytes: Uint8Array;
}

/**
 * An exception, an NMI or an `int` through one of the vectors 0 to 31, in real mode any interrupt, as the guest's fault
 * catcher reported it (the option `catchFaults`). All of it is as it was in the program, not in the handler.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   bits 64
 *   mov ax, 0x40
 *   mov ds, ax
 * `, { catchFaults: true });
 * expect(vm).toFault("#GP");
 * console.log(vm.fault!.errorCode, vm.fault!.text);
 * // 64 #GP at 0x10004 (`mov ds, eax`): error code 0x40, selector 0x40 of the GDT
 * ```
 */
export class CaughtFault {
  /** The vector: 0 to 31, in real mode to 255. */
  readonly vector: number;
  /** The exception's name: `"#GP"`; of an `int` that instruction (`"int 0x21"`), of an interrupt `"interrupt 0x20"`. */
  readonly name: ExceptionName | InterruptName;
  /** The error code; absent where the CPU pushed none: real mode has none at all. */
  readonly errorCode?: number;
  /** Whether it came by the instruction `int`, and is no exception. */
  readonly software: boolean;
  /** Whether it is an external interrupt (injected, or of an interrupt controller) through the vector, and no exception. */
  readonly external: boolean;
  /**
   * Whether it may as well be the instruction `int` in front of `rip`, and no exception: in a guest without source lines
   * or labels there nothing tells. Neither is satisfied by it then: {@linkcode Expectation.toFault} fails.
   */
  readonly ambiguous: boolean;
  /** The instruction pointer that the CPU saved: at the instruction, or, of a trap, behind it. */
  readonly rip: bigint;
  /** The linear address of the instruction; of a #DB, an NMI and an external interrupt, of the next one. */
  readonly linear: bigint;
  /** The selector in CS. */
  readonly cs: number;
  /** RFLAGS. RF, which the CPU sets in what it saves, is clear. */
  readonly rflags: bigint;
  /** The stack pointer. */
  readonly rsp: bigint;
  /** The selector in SS. */
  readonly ss: number;
  /** The privilege level of the code. */
  readonly cpl: number;
  /** How wide the code is. */
  readonly bits: CodeBits;
  /** Of a #PF: CR2, the address that could not be used. */
  readonly cr2?: bigint;
  /** Of a #PF while paging is on: the page tables for that address, at the time of the fault. */
  readonly walk?: PageWalk;
  /** Of a #DB: DR6. */
  readonly dr6?: bigint;
  /** The bytes of memory from the instruction on, as far as they are mapped, at most 15. */
  readonly bytes: Uint8Array;
  readonly #image: Image;
  #text: string | undefined;

  /** A fault of the guest that `image` is. For the machine alone. */
  constructor(record: FaultRecord, image: Image) {
    this.vector = record.vector;
    this.name = faultName(record);
    this.errorCode = record.errorCode;
    this.software = record.software ?? false;
    this.external = record.external ?? false;
    this.ambiguous = record.ambiguous ?? false;
    this.rip = record.rip;
    this.linear = record.linear;
    this.cs = record.cs;
    this.rflags = record.rflags;
    this.rsp = record.rsp;
    this.ss = record.ss;
    this.cpl = record.cpl;
    this.bits = record.bits;
    this.cr2 = record.cr2;
    this.walk = record.walk;
    this.dr6 = record.dr6;
    this.bytes = record.bytes;
    this.#image = image;
  }

  /** The fault in a line, without its instruction: no disassembler is asked. */
  get summary(): string {
    return describeFault(this);
  }

  /** The fault in a line, with its instruction where there is a disassembler. */
  get text(): string {
    return this.#text ??= describeFault(this, this.#instruction());
  }

  /**
   * Whether `rip` is at this address, or at this label of the guest.
   *
   * @throws {RangeError} When the guest has no such label.
   */
  isAt(place: number | bigint | string): boolean {
    if (typeof place !== "string") return BigInt(place) === this.rip;
    const address = this.#image.symbol(place);
    // A guest that is loaded above a real-mode segment's base has labels that are no offsets.
    return address === this.rip || address === this.linear;
  }

  #instruction(): string | undefined {
    const [instruction] = disassemble(this.bytes, {
      bits: this.bits,
      origin: this.linear,
      count: 1,
    }).instructions;
    // Bytes that are no instruction are shown as bytes.
    if (instruction === undefined || instruction.text.startsWith("db ")) return undefined;
    return instruction.text.replaceAll(",", ", ");
  }
}
