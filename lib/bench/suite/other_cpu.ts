import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { Machine } from "../../machine/machine.ts";
import { msiMessage } from "../../x86/apic/msi_message.ts";
import type { Benchmark } from "../benchmark.ts";
import {
  ASSERT,
  DESTINATION_SHIFT,
  ENABLED,
  ICR_HIGH,
  ICR_LOW,
  OPTIONS,
  SPURIOUS,
  VECTOR,
  xapicGuest,
} from "./apic_guest.ts";
import { type GuestBenchmark, guestBenchmark, type RunHooks } from "./guest_benchmark.ts";
import type { MeasuredGuest } from "./measured_guest.ts";
import { lacksThreads, SecondCpu } from "./second_cpu.ts";

/** How many cycles CPU 1 has to come back into HLT, as there. */
const HALT_CYCLES = 2000;

/** Sends CPU 1 an interrupt, and waits until its handler has run. */
function interruptOther(): AsmSource {
  return asm`
    mov rbx, [taken]
    mov dword [${ICR_HIGH}], ${1 << DESTINATION_SHIFT}
    mov dword [${ICR_LOW}], ${ASSERT | VECTOR}
  .wait:
    pause
    cmp rbx, [taken]
    je .wait
  `;
}

/** What CPU 1 does: it waits in HLT, and takes interrupts. */
const waitingCpu = () =>
  asm`
    second:
      mov dword [${SPURIOUS}], ${ENABLED}
      sti
      mov byte [second_is_ready], 1
    .idle:
      hlt
      cmp byte [second_shall_end], 0
      je .idle
      out dx, al
      jmp .idle
    second_is_ready: db 0
    second_shall_end: db 0
  `;

/** CPU 0 interrupts CPU 1, once that has its local APIC on: an interrupt before that would be lost. */
function twoCpus(operation: AsmSource): MeasuredGuest {
  const { setup, routines, ...guest } = xapicGuest(operation);
  return {
    ...guest,
    setup: asm`
      ${setup!}
      ${awaitSecond()}
    `,
    routines: asm`
      ${routines!}
      ${waitingCpu()}
    `,
  };
}

function awaitSecond(): AsmSource {
  return asm`
    await_second:
      pause
      cmp byte [second_is_ready], 0
      je await_second
  `;
}

/** CPU 1 starts at the label `second`, and ends when it finds `second_shall_end` set. */
function startSecond(vm: Machine): RunHooks {
  const second = new SecondCpu(vm, "second");
  return {
    end() {
      vm.memory.setU8("second_shall_end", 1);
      vm.interrupts.msi(msiMessage({ vector: VECTOR, destination: second.id }));
      second[Symbol.dispose]();
    },
  };
}

const DESCRIPTIONS: readonly GuestBenchmark[] = [
  {
    name: "ipi",
    what: "an interrupt for another CPU that waits in HLT, until its handler has run",
    lacks: lacksThreads,
    interrupts: 1,
    guest: () => twoCpus(interruptOther()),
    attach: startSecond,
  },
  {
    name: "ipi_halt",
    what: `the same, and ${HALT_CYCLES} cycles for the other CPU to halt`,
    lacks: lacksThreads,
    interrupts: 1,
    guest: () =>
      twoCpus(asm`
      ${interruptOther()}
      rdtsc
      shl rdx, 32
      lea rbx, [rax + rdx + ${HALT_CYCLES}]
    .halting:
      rdtsc
      shl rdx, 32
      add rax, rdx
      cmp rax, rbx
      jb .halting
    `),
    attach: startSecond,
  },
  {
    name: "ple_round_robin",
    what: "two CPUs hand a turn to each other, and wait for it by PAUSE",
    lacks: lacksThreads,
    guest: () => ({
      // With interrupts off, Bochs' VMX would let nobody interrupt a CPU.
      setup: asm`
        sti
        ${awaitSecond()}
      `,
      prepare: asm`sub r12, [turns + 64]`,
      operation: asm`
      .wait:
        mov rax, [turns]
        cmp rax, [turns + 8]
        jne .mine
        pause
        jmp .wait
      .mine:
        mov [turns + 8], rax
        inc qword [turns + 64]
      `,
      finish: asm`add r12, [turns + 64]`,
      routines: asm`
      on_interrupt:
        iretq
      second:
        mov dword [${SPURIOUS}], ${ENABLED}
        sti
        mov byte [second_is_ready], 1
      .wait:
        mov rax, [turns + 64]
        cmp rax, [turns + 72]
        jne .mine
        pause
        cmp byte [second_shall_end], 0
        je .wait
        out dx, al
        jmp .wait
      .mine:
        mov [turns + 72], rax
        inc qword [turns]
        jmp .wait
      second_is_ready: db 0
      second_shall_end: db 0
        align 64, db 0
      turns: ; how often a CPU was given the turn, and how often it has taken it; a line of the cache for each
        dq 1
        times 15 dq 0
      `,
      options: OPTIONS,
    }),
    attach: startSecond,
    witness: (operations) => BigInt(operations),
  },
  {
    name: "ipi_by_turns",
    what: "an interrupt for another CPU of a machine, whose CPUs take turns on one thread",
    interrupts: 1,
    guest: () => ({
      ...twoCpus(interruptOther()),
      options: { ...OPTIONS, cpus: [{}, { entry: "second" }] },
    }),
  },
];

/** What two CPUs have to do with each other. */
export const otherCpu: readonly Benchmark[] = DESCRIPTIONS.map(guestBenchmark);
