import type { FlagValues } from "../../x86/registers/flags.ts";
import type { FlagsOfRegisters } from "../../x86/registers/flag_tables.ts";
import type { FlagRegister } from "./flag_register.ts";

/** What a whole register can be set to. */
export type WholeValue = bigint | number;

/** What a register that may hold an address can be set to: a label stands for what `mov rsi, label` would load. */
export type WholeValueOrLabel = WholeValue | string;

/** What a register that is made of flags can be set to: all of it, or some of its flags. */
export type AssignedFlags<Name extends keyof FlagsOfRegisters> =
  | WholeValue
  | FlagValues<FlagsOfRegisters[Name]>;

/**
 * The registers that are read as one type and set as several: those of 64 bits, which are bigints, by numbers too, and
 * those that are made of flags as a whole. No mapped type says that.
 *
 * @ignore The documentation's lint wants a return type of each setter, which TypeScript forbids (TS1095).
 */
export interface AssignableRegisters {
  /** RAX. */
  get rax(): bigint;
  set rax(value: WholeValueOrLabel);
  /** RBX. */
  get rbx(): bigint;
  set rbx(value: WholeValueOrLabel);
  /** RCX. */
  get rcx(): bigint;
  set rcx(value: WholeValueOrLabel);
  /** RDX. */
  get rdx(): bigint;
  set rdx(value: WholeValueOrLabel);
  /** RSI. */
  get rsi(): bigint;
  set rsi(value: WholeValueOrLabel);
  /** RDI. */
  get rdi(): bigint;
  set rdi(value: WholeValueOrLabel);
  /** RBP. */
  get rbp(): bigint;
  set rbp(value: WholeValueOrLabel);
  /** The stack pointer: an offset in SS. */
  get rsp(): bigint;
  set rsp(value: WholeValueOrLabel);
  /** R8. */
  get r8(): bigint;
  set r8(value: WholeValueOrLabel);
  /** R9. */
  get r9(): bigint;
  set r9(value: WholeValueOrLabel);
  /** R10. */
  get r10(): bigint;
  set r10(value: WholeValueOrLabel);
  /** R11. */
  get r11(): bigint;
  set r11(value: WholeValueOrLabel);
  /** R12. */
  get r12(): bigint;
  set r12(value: WholeValueOrLabel);
  /** R13. */
  get r13(): bigint;
  set r13(value: WholeValueOrLabel);
  /** R14. */
  get r14(): bigint;
  set r14(value: WholeValueOrLabel);
  /** R15. */
  get r15(): bigint;
  set r15(value: WholeValueOrLabel);
  /** The instruction pointer: an offset in CS. */
  get rip(): bigint;
  set rip(value: WholeValueOrLabel);
  /** CR2: the linear address of the latest page fault. */
  get cr2(): bigint;
  set cr2(value: WholeValueOrLabel);
  /** CR3: where the page tables are. */
  get cr3(): bigint;
  set cr3(value: WholeValueOrLabel);
  /** CR8: the task priority. */
  get cr8(): bigint;
  set cr8(value: WholeValue);
  /** IA32_APIC_BASE. */
  get apic_base(): bigint;
  set apic_base(value: WholeValue);
  /** DR0: the address of a breakpoint. */
  get dr0(): bigint;
  set dr0(value: WholeValueOrLabel);
  /** DR1: the address of a breakpoint. */
  get dr1(): bigint;
  set dr1(value: WholeValueOrLabel);
  /** DR2: the address of a breakpoint. */
  get dr2(): bigint;
  set dr2(value: WholeValueOrLabel);
  /** DR3: the address of a breakpoint. */
  get dr3(): bigint;
  set dr3(value: WholeValueOrLabel);
  /** K0: a mask of AVX-512. */
  get k0(): bigint;
  set k0(value: WholeValue);
  /** K1: a mask of AVX-512. */
  get k1(): bigint;
  set k1(value: WholeValue);
  /** K2: a mask of AVX-512. */
  get k2(): bigint;
  set k2(value: WholeValue);
  /** K3: a mask of AVX-512. */
  get k3(): bigint;
  set k3(value: WholeValue);
  /** K4: a mask of AVX-512. */
  get k4(): bigint;
  set k4(value: WholeValue);
  /** K5: a mask of AVX-512. */
  get k5(): bigint;
  set k5(value: WholeValue);
  /** K6: a mask of AVX-512. */
  get k6(): bigint;
  set k6(value: WholeValue);
  /** K7: a mask of AVX-512. */
  get k7(): bigint;
  set k7(value: WholeValue);
  /** FIP: the latest instruction of x87. */
  get fip(): bigint;
  set fip(value: WholeValue);
  /** FDP: the operand of the latest instruction of x87. */
  get fdp(): bigint;
  set fdp(value: WholeValue);
  /** RFLAGS. */
  get rflags(): FlagRegister<"rflags">;
  set rflags(value: AssignedFlags<"rflags">);
  /** CR0. */
  get cr0(): FlagRegister<"cr0">;
  set cr0(value: AssignedFlags<"cr0">);
  /** CR4. */
  get cr4(): FlagRegister<"cr4">;
  set cr4(value: AssignedFlags<"cr4">);
  /** IA32_EFER. */
  get efer(): FlagRegister<"efer">;
  set efer(value: AssignedFlags<"efer">);
  /** XCR0. */
  get xcr0(): FlagRegister<"xcr0">;
  set xcr0(value: AssignedFlags<"xcr0">);
  /** DR6. */
  get dr6(): FlagRegister<"dr6">;
  set dr6(value: AssignedFlags<"dr6">);
  /** DR7. */
  get dr7(): FlagRegister<"dr7">;
  set dr7(value: AssignedFlags<"dr7">);
  /** MXCSR. */
  get mxcsr(): FlagRegister<"mxcsr">;
  set mxcsr(value: AssignedFlags<"mxcsr">);
  /** x87's control word. */
  get fcw(): FlagRegister<"fcw">;
  set fcw(value: AssignedFlags<"fcw">);
  /** x87's status word. */
  get fsw(): FlagRegister<"fsw">;
  set fsw(value: AssignedFlags<"fsw">);
}
