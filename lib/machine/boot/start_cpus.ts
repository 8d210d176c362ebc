import type { CpuState } from "../../x86/cpu_state.ts";
import type { CpuidEntry } from "../../x86/cpuid.ts";
import { withCpuidTopology } from "../../x86/cpuid_topology.ts";
import type { BootOptions, CpuOptions, LongOptions } from "./boot_options.ts";
import type { Machine, MachineCpu } from "../machine.ts";
import type { CpuParts } from "../cpu_core.ts";

/** How far the stacks of CPUs are apart where they are given none. */
const STACK_SIZE = 0x400n;

/** Bit 8 of IA32_APIC_BASE: it is the processor that boots (Intel SDM Vol. 3A, 10.4.4). */
const BOOT_PROCESSOR = 0x100n;

/** What CPUID answers on each of several CPUs. */
export function cpuidOfCpus(
  entries: readonly CpuidEntry[],
  count: number,
): readonly (readonly CpuidEntry[])[] {
  if (count === 1) return [entries];
  return Array.from(
    { length: count },
    (_, apicId) => withCpuidTopology(entries, { apicId, processors: count }),
  );
}

/** What {@linkcode startCpus} needs to know of the boot. */
export interface StartCpusParts {
  readonly machine: Machine;
  readonly cpus: readonly CpuParts[];
  /** The state in which CPU 0 starts: its registers hold it already. */
  readonly state: CpuState;
  /** The linear address at which that is. */
  readonly entry: number;
  readonly options: BootOptions;
}

/**
 * Puts the CPUs where they start; those that wait for a SIPI stay as KVM has made them.
 *
 * @throws {RangeError} When an entry is no label of the guest, or there is no room for a stack.
 */
export function startCpus(parts: StartCpusParts): void {
  const { machine, options } = parts;
  const list = typeof options.cpus === "object" ? options.cpus : [];
  machine.cpus.forEach((cpu, number) => {
    if (number === 0 || list.length > 0) start(parts, cpu, list[number] ?? {});
    else cpu.commitBootState();
  });
}

function start(
  { cpus, state, entry, options }: StartCpusParts,
  cpu: MachineCpu,
  own: CpuOptions,
): void {
  const { number, registers } = cpu;
  // CPU 0 has had them since the guest was loaded through its page tables.
  if (number > 0) {
    const apic_base = state.specialRegisters.apic_base & ~BOOT_PROCESSOR;
    cpus[number].store.load(state.registers, { ...state.specialRegisters, apic_base });
  }
  if (state.fpu !== undefined) registers.set({ ...state.fpu });
  if (number > 0) registers.rsp = stackOf(cpu, own);
  const { convention, cpuNumber = 0 } = options as LongOptions;
  if (convention === "unikernel") registers.rsi = BigInt(cpuNumber + number);
  if (options.registers !== undefined) registers.set(options.registers);
  if (own.stack !== undefined) registers.rsp = BigInt(own.stack);
  if (own.entry !== undefined) registers.rip += BigInt(entryOf(cpu, own.entry) - entry);
  if (own.registers !== undefined) registers.set(own.registers);
  cpu.commitBootState();
  if (state.msrs !== undefined) cpu.msrs.set(state.msrs);
  if (options.msrs !== undefined) cpu.msrs.set(options.msrs);
  if (number > 0 && options.irqchip) cpu.mpState = "RUNNABLE";
}

function stackOf({ number, registers: { rsp } }: MachineCpu, { stack }: CpuOptions): bigint {
  const top = rsp - BigInt(number) * STACK_SIZE;
  if (top > 0n || stack !== undefined) return top > 0n ? top : rsp;
  throw new RangeError(
    `Cannot give CPU ${number} a stack: ${STACK_SIZE} bytes for each of the CPUs before it leave no room below 0x${
      rsp.toString(16)
    }. Give it one: \`cpus: [{ stack: … }]\`.`,
  );
}

function entryOf({ image }: MachineCpu, entry: number | string): number {
  return typeof entry === "string" ? image.symbol(entry) : entry;
}
