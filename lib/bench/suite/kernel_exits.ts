import { asm } from "../../guest/asm.ts";
import { AcpiPmTimer } from "../../devices/acpi/acpi_pm_timer.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { requires } from "../../machine/host/requires.ts";
import { PORT } from "../../x86/layout.ts";
import { msrNumber } from "../../x86/msrs/msr_number.ts";
import type { Benchmark } from "../benchmark.ts";
import { type GuestBenchmark, guestBenchmark, hypercall } from "./guest_benchmark.ts";

/** A port that nobody has but the handler: that of the suite whose names these are. */
const USER_PORT = 0x1234;
/** What it answers. */
const USER_VALUE = 3;
/** IA32_ARCH_CAPABILITIES.TSX_CTRL (Intel SDM Vol. 4, table 2-2). */
const TSX_CTRL_IS_THERE = 1n << 7n;
/** Where a PC's chipset of the same kind has its timer. */
const PM_TIMER_PORT = 0x608;
/** A number that KVM has no hypercall for. */
const UNKNOWN_HYPERCALL = 0x7fff;
/** What CR8 is set to. */
const TASK_PRIORITY = 5;
/** DR7 with nothing but the bit that is always set, and with GE and LE, which do nothing either. */
const DR7_NONE = 0x400;
const DR7_EXACT = 0x700;
/** What IA32_KERNEL_GS_BASE is set to. */
const GS_BASE = 0x1234;
/** Bits of control registers that are toggled. */
const CR0_WP = 16;
const CR4_PGE = 7;

function lacksTsxControl(): string | undefined {
  const { reason } = requires({ arch_capabilities: true, getMsrFeatures: true });
  if (reason !== undefined) return reason;
  using kvm = Kvm.open();
  const [{ data }] = kvm.getMsrs([msrNumber("IA32_ARCH_CAPABILITIES")]);
  return (data & TSX_CTRL_IS_THERE) === 0n
    ? "this host's KVM offers its guests no IA32_TSX_CTRL"
    : undefined;
}

/** Why there is neither of two features: each vendor has its own name for the same MSR. */
function lacksBoth(intel: "spec_ctrl", amd: "amd_ibrs" | "amd_ibpb"): () => string | undefined {
  return () => {
    const reasons = [requires({ [intel]: true }).reason, requires({ [amd]: true }).reason];
    return reasons.includes(undefined) ? undefined : reasons.join("; ");
  };
}

/** A WRMSR of a value. One that the guest may not make would be a #GP, and shut it down. */
function writeMsr(
  name: string,
  msr: number,
  value: number,
  rest: Partial<GuestBenchmark> = {},
): GuestBenchmark {
  return {
    name,
    what: `WRMSR of 0x${msr.toString(16)}`,
    guest: () => ({
      load: asm`
        mov ecx, ${msr}
        mov eax, ${value}
        xor edx, edx
      `,
      operation: asm`wrmsr`,
    }),
    ...rest,
  };
}

/** Sets a bit of a control register to its other value and back: two writes. */
function toggle(name: string, register: "cr0" | "cr4", bit: number, flag: string): GuestBenchmark {
  return {
    name,
    what: `MOV to ${register.toUpperCase()} that changes ${flag}, and one that changes it back`,
    guest: () => ({
      prepare: asm`
        mov rsi, ${register}
        mov rbx, rsi
        btc rbx, ${bit}
      `,
      operation: asm`
        mov ${register}, rbx
        mov ${register}, rsi
      `,
      finish: asm`
        mov r12, ${register}
        xor r12, rsi
        inc r12
      `,
    }),
    witness: () => 1n,
  };
}

/** Reads a control register, or writes what it has. */
function access(direction: "from" | "to", register: "cr0" | "cr3" | "cr4"): GuestBenchmark {
  const isRead = direction === "from";
  return {
    name: `mov_${direction}_${register}`,
    what: `MOV ${direction} ${register.toUpperCase()}${isRead ? "" : " of the value that it has"}`,
    guest: () => ({
      prepare: asm`mov rsi, ${register}`,
      operation: isRead ? asm`mov rbx, ${register}` : asm`mov ${register}, rsi`,
      finish: asm`
        mov r12, ${isRead ? "rbx" : register}
        xor r12, rsi
        inc r12
      `,
    }),
    witness: () => 1n,
  };
}

const IA32_TSC_ADJUST = msrNumber("IA32_TSC_ADJUST");

const DESCRIPTIONS: readonly GuestBenchmark[] = [
  {
    name: "cpuid",
    what: "CPUID of leaf 0",
    exits: 1,
    guest: () => ({
      operation: asm`
        xor eax, eax
        cpuid
      `,
    }),
  },
  {
    name: "vmcall",
    what: "a hypercall that KVM does not know (VMCALL, or AMD's VMMCALL)",
    exits: 1,
    hypercalls: 1,
    guest: () => ({
      operation: asm`
        mov eax, ${UNKNOWN_HYPERCALL}
        ${hypercall()}
      `,
    }),
  },
  { name: "wbinvd", what: "WBINVD", exits: 1, guest: () => ({ operation: asm`wbinvd` }) },
  {
    name: "invd",
    what: "INVD, which KVM takes for WBINVD",
    exits: 1,
    guest: () => ({ operation: asm`invd` }),
  },
  {
    name: "mov_from_cr8",
    what: "MOV from CR8, the task priority",
    guest: () => ({
      prepare: asm`
        mov eax, ${TASK_PRIORITY}
        mov cr8, rax
      `,
      operation: asm`
        mov rax, cr8
        add r12, rax
      `,
      options: { irqchip: true },
    }),
    witness: (operations) => BigInt(TASK_PRIORITY * operations),
  },
  {
    name: "mov_to_cr8",
    what: "MOV of 0 to CR8, the task priority",
    guest: () => ({
      prepare: asm`
        mov eax, ${TASK_PRIORITY}
        mov cr8, rax
      `,
      load: asm`xor eax, eax`,
      operation: asm`mov cr8, rax`,
      finish: asm`
        mov r12, cr8
        inc r12
      `,
      options: { irqchip: true },
    }),
    witness: () => 1n,
  },
  {
    name: "inl_from_pmtimer",
    what: "IN of the ACPI timer, a device in user space",
    exits: 1,
    userExits: 1,
    guest: () => ({
      load: asm`mov edx, ${PM_TIMER_PORT}`,
      operation: asm`in eax, dx`,
      options: { devices: [new AcpiPmTimer({ port: PM_TIMER_PORT })] },
    }),
  },
  {
    name: "inl_from_qemu",
    what: "IN of a dword from a handler in user space",
    exits: 1,
    userExits: 1,
    guest: () => ({
      load: asm`mov edx, ${USER_PORT}`,
      operation: asm`
        in eax, dx
        add r12, rax
      `,
    }),
    attach: (vm) => void vm.ports.on(USER_PORT, { read: () => USER_VALUE }),
    witness: (operations) => BigInt(USER_VALUE * operations),
  },
  {
    name: "inl_from_kernel",
    what: "IN of a byte from the PIC in the kernel (ELCR)",
    exits: 1,
    guest: () => ({
      load: asm`mov edx, ${PORT.picElcr}`,
      operation: asm`in al, dx`,
      options: { irqchip: true },
    }),
  },
  {
    name: "outl_to_kernel",
    what: "OUT of a byte to the PIC in the kernel (ELCR)",
    exits: 1,
    guest: () => ({
      load: asm`
        mov edx, ${PORT.picElcr}
        xor eax, eax
      `,
      operation: asm`out dx, al`,
      options: { irqchip: true },
    }),
  },
  {
    name: "pit_read",
    what: "IN of the PIT in the kernel",
    exits: 1,
    guest: () => ({
      operation: asm`in al, ${PORT.pit}`,
      options: { irqchip: true, pit: true },
    }),
  },
  {
    name: "mov_dr",
    what: "MOV to DR7",
    guest: () => ({
      prepare: asm`
        mov eax, ${DR7_EXACT}
        mov dr7, rax
      `,
      load: asm`mov eax, ${DR7_NONE}`,
      operation: asm`mov dr7, rax`,
      finish: asm`mov r12, dr7`,
    }),
    witness: () => BigInt(DR7_NONE),
  },
  writeMsr("wr_kernel_gs_base", msrNumber("IA32_KERNEL_GS_BASE"), GS_BASE, {
    guest: () => ({
      prepare: asm`
        mov ecx, ${msrNumber("IA32_KERNEL_GS_BASE")}
        xor eax, eax
        xor edx, edx
        wrmsr
      `,
      load: asm`
        mov ecx, ${msrNumber("IA32_KERNEL_GS_BASE")}
        mov eax, ${GS_BASE}
        xor edx, edx
      `,
      operation: asm`wrmsr`,
      finish: asm`
        mov ecx, ${msrNumber("IA32_KERNEL_GS_BASE")}
        rdmsr
        mov r12, rax
      `,
    }),
    witness: () => BigInt(GS_BASE),
  }),
  writeMsr("wr_tsx_ctrl_msr", msrNumber("IA32_TSX_CTRL"), 0, { lacks: lacksTsxControl }),
  writeMsr("wr_ibrs_msr", msrNumber("IA32_SPEC_CTRL"), 1, {
    what: "two WRMSRs of IA32_SPEC_CTRL: IBRS on and off",
    lacks: lacksBoth("spec_ctrl", "amd_ibrs"),
    guest: () => ({
      load: asm`
        mov ecx, ${msrNumber("IA32_SPEC_CTRL")}
        xor edx, edx
      `,
      operation: asm`
        mov eax, 1
        wrmsr
        xor eax, eax
        wrmsr
      `,
    }),
  }),
  writeMsr("wr_ibpb_msr", msrNumber("IA32_PRED_CMD"), 1, {
    what: "WRMSR of IA32_PRED_CMD: an indirect branch prediction barrier",
    lacks: lacksBoth("spec_ctrl", "amd_ibpb"),
  }),
  writeMsr("wr_tsc_adjust_msr", IA32_TSC_ADJUST, 0, { needs: { tsc_adjust: true }, exits: 1 }),
  {
    name: "rd_tsc_adjust_msr",
    what: "RDMSR of IA32_TSC_ADJUST",
    needs: { tsc_adjust: true },
    exits: 1,
    guest: () => ({ load: asm`mov ecx, ${IA32_TSC_ADJUST}`, operation: asm`rdmsr` }),
  },
  toggle("toggle_cr0_wp", "cr0", CR0_WP, "WP"),
  toggle("toggle_cr4_pge", "cr4", CR4_PGE, "PGE"),
  access("from", "cr0"),
  access("to", "cr0"),
  access("from", "cr3"),
  access("to", "cr3"),
  access("from", "cr4"),
  access("to", "cr4"),
  {
    name: "invlpg",
    what: "INVLPG",
    guest: () => ({
      prepare: asm`mov ebx, frame_start`,
      operation: asm`
        invlpg [rbx]
        inc r12
      `,
    }),
    witness: (operations) => BigInt(operations),
  },
];

/** Exits that the kernel handles by itself, and instructions that may make none. */
export const kernelExits: readonly Benchmark[] = DESCRIPTIONS.map(guestBenchmark);
