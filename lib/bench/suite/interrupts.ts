import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import { KVM_IOEVENTFD } from "../../kvm/abi/constants.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { type Needs, requires } from "../../machine/host/requires.ts";
import type { Machine } from "../../machine/machine.ts";
import { msiMessage } from "../../x86/apic/msi_message.ts";
import { msrNumber } from "../../x86/msrs/msr_number.ts";
import type { Benchmark } from "../benchmark.ts";
import {
  ASSERT,
  ENABLED,
  EOI,
  ICR_HIGH,
  ICR_LOW,
  LVT_TIMER,
  SPURIOUS,
  TO_SELF,
  TSC_DEADLINE,
  VECTOR,
  X2APIC,
  x2apicGuest,
  xapicGuest,
} from "./apic_guest.ts";
import { type GuestBenchmark, guestBenchmark } from "./guest_benchmark.ts";
import type { MeasuredGuest } from "./measured_guest.ts";

/** A task priority that holds up every vector. */
const HIGHEST_PRIORITY = 0xf;

const IA32_TSC_DEADLINE = msrNumber("IA32_TSC_DEADLINE");
/** How many cycles ahead the deadline lies that the guest waits for by spinning, as in the suite whose names these are. */
const NEAR_DEADLINE = 3000;
const DOORBELL = 0x600;
/** A GSI that is no pin. */
const GSI = 24;

/** The ways in which an interrupt that the CPU sends itself is held up and let in. */
const SELF_IPIS: readonly {
  readonly name: string;
  readonly what: string;
  /** Where an interrupt comes before the HLT that is to wait for it, nothing ends that. */
  readonly needs?: Needs;
  around(send: AsmSource): AsmSource;
}[] = [
  {
    name: "self_ipi_sti_nop",
    what: "held up by CLI, taken behind STI; NOP",
    around: (send) =>
      asm`
        cli
        ${send}
        sti
        nop
      `,
  },
  {
    name: "self_ipi_sti_hlt",
    needs: { interruptShadow: true },
    what: "held up by CLI, taken in STI; HLT",
    around: (send) =>
      asm`
        cli
        ${send}
        sti
        hlt
      `,
  },
  {
    name: "self_ipi_tpr",
    what: "held up by the task priority, taken when that is 0",
    around: (send) =>
      asm`
        ${raisePriority()}
        ${send}
        ${lowerPriority()}
        nop
      `,
  },
  {
    name: "self_ipi_tpr_sti_nop",
    what: "held up by CLI and the task priority, taken behind STI; NOP",
    around: (send) =>
      asm`
        cli
        ${raisePriority()}
        ${send}
        ${lowerPriority()}
        sti
        nop
      `,
  },
  {
    name: "self_ipi_tpr_sti_hlt",
    needs: { interruptShadow: true },
    what: "held up by CLI and the task priority, taken in STI; HLT",
    around: (send) =>
      asm`
        cli
        ${raisePriority()}
        ${send}
        ${lowerPriority()}
        sti
        hlt
      `,
  },
];

function raisePriority(): AsmSource {
  return asm`
    mov eax, ${HIGHEST_PRIORITY}
    mov cr8, rax
  `;
}

function lowerPriority(): AsmSource {
  return asm`
    xor eax, eax
    mov cr8, rax
  `;
}

const selfIpis: readonly GuestBenchmark[] = SELF_IPIS.flatMap(({ name, what, needs, around }) => [
  {
    name,
    what: `an IPI of the CPU to itself, by the ICR: ${what}`,
    needs,
    interrupts: 1,
    guest: () =>
      xapicGuest(around(asm`
        mov dword [${ICR_HIGH}], 0
        mov dword [${ICR_LOW}], ${TO_SELF | ASSERT | VECTOR}
      `)),
  },
  {
    name: `x2apic_${name}`,
    what: `an IPI of the CPU to itself, by the x2APIC's SELF IPI register: ${what}`,
    needs: { x2apic: true, ...needs },
    interrupts: 1,
    guest: () =>
      x2apicGuest(around(asm`
        mov ecx, ${X2APIC.SELF_IPI}
        mov eax, ${VECTOR}
        xor edx, edx
        wrmsr
      `)),
  },
]);

/**
 * A deadline comes when KVM's idea of the guest's TSC has reached it. In QEMU's SVM (7.2, with Linux 6.1) that stands still
 * at the TSC's offset while the guest reads a TSC that counts: a deadline of the guest's is seconds late.
 */
function lacksDeadlines(): string | undefined {
  const { reason } = requires({ tscDeadlineTimer: true });
  if (reason !== undefined) return reason;
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using vcpu = vm.createVcpu(0);
  const [first, second] = [1, 2].map(() => vcpu.msrs.getMsrs([msrNumber("IA32_TSC")])[0].data);
  return first === second
    ? `the guest's TSC stands still for this KVM (at ${first}), so that no deadline comes in time`
    : undefined;
}

/** Sets up the local APIC's timer for deadlines of the TSC. */
function timerGuest(operation: AsmSource, more: Partial<MeasuredGuest> = {}): MeasuredGuest {
  return xapicGuest(operation, {
    setup: asm`
      mov dword [${SPURIOUS}], ${ENABLED}
      mov dword [${LVT_TIMER}], ${TSC_DEADLINE | VECTOR}
      sti
    `,
    ...more,
  });
}

const DESCRIPTIONS: readonly GuestBenchmark[] = [
  ...selfIpis,
  {
    name: "tscdeadline_immed",
    what: "a TSC deadline that is over when it is set, to its handler and back",
    lacks: lacksDeadlines,
    interrupts: 1,
    guest: () =>
      timerGuest(asm`
        mov ecx, ${IA32_TSC_DEADLINE}
        rdtsc
        wrmsr
        nop
      `),
  },
  {
    name: "tscdeadline",
    what: `a TSC deadline ${NEAR_DEADLINE} cycles ahead, until its handler has run`,
    lacks: lacksDeadlines,
    interrupts: 1,
    guest: () =>
      timerGuest(asm`
        mov rbx, [taken]
        mov ecx, ${IA32_TSC_DEADLINE}
        ${deadline(asm`mov esi, ${NEAR_DEADLINE}`)}
        wrmsr
      .wait:
        cmp rbx, [taken]
        je .wait
      `),
  },
  {
    name: "hlt_wakeup",
    what: "from a TSC deadline to the first instruction of its handler, when the CPU waits in HLT",
    lacks: lacksDeadlines,
    interrupts: 1,
    halts: 1,
    guest: () => ({
      ...timerGuest(asm`
        cli
        mov ecx, ${IA32_TSC_DEADLINE}
        ${deadline(asm`mov esi, [distance]`)}
        mov r8, rdx
        shl r8, 32
        or  r8, rax
        wrmsr
        sti
        hlt
      `),
      measuresItself: true,
      routines: asm`
        ${measuringHandler()}
        distance: dq 0
      `,
    }),
    attach: (vm) => void vm.memory.setU64("distance", BigInt(vm.kvm.vcpu.clock.getTscKhz())),
  },
  {
    name: "irqfd_injection",
    what:
      "from a write to a doorbell (ioeventfd) to the first instruction of the handler of the interrupt (irqfd) that it raises",
    needs: { irqfd: true, ioeventfd: true, irqRouting: true },
    interrupts: 1,
    exits: 1,
    guest: () => ({
      ...xapicGuest(asm`
        mov rbx, [taken]
        lfence
        rdtsc
        shl rdx, 32
        lea r8, [rax + rdx]
        mov edx, ${DOORBELL}
        out dx, al
      .wait:
        pause
        cmp rbx, [taken]
        je .wait
      `),
      measuresItself: true,
      routines: measuringHandler(),
    }),
    attach: connectDoorbell,
  },
];

/** A deadline so many cycles from now, in EDX:EAX. */
function deadline(cycles: AsmSource): AsmSource {
  return asm`
    ${cycles}
    rdtsc
    add eax, esi
    adc edx, 0
  `;
}

/** A handler that leaves the cycles since R8 in `[elapsed]`. What it interrupts needs neither RAX nor RCX nor RDX. */
function measuringHandler(): AsmSource {
  return asm`
    on_interrupt:
      rdtscp
      shl rdx, 32
      add rax, rdx
      sub rax, r8
      mov [elapsed], rax
      inc qword [taken]
      mov dword [${EOI}], 0
      iretq
  `;
}

/** The eventfd that the guest's write signals is the one that raises the interrupt: user space has no part in it. */
function connectDoorbell(vm: Machine): void {
  vm.interrupts.route([{ gsi: GSI, msi: msiMessage({ vector: VECTOR }) }]);
  const { fd } = vm.interrupts.eventfd(GSI);
  vm.kvm.vm.interrupts.ioeventfd({ addr: DOORBELL, len: 1, fd, flags: KVM_IOEVENTFD.FLAG_PIO });
}

/** Interrupts of one CPU, from where they are sent to their handlers. */
export const interrupts: readonly Benchmark[] = DESCRIPTIONS.map(guestBenchmark);
