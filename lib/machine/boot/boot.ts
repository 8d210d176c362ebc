import { APIC_BASE_BIT } from "../../x86/registers/apic_base.ts";
import { HostError } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { timed } from "../../guest/time_spent.ts";
import { AssemblyError } from "../../guest/diagnostic.ts";
import { KvmError, MsrError } from "../../kvm/errors.ts";
import { kvmLibc } from "../../kvm/remote/kvm_choice.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { CpuState } from "../../x86/boot/cpu_state.ts";
import { Board } from "../board.ts";
import type { Cpu } from "../cpu.ts";
import { checkHasSingleStep } from "../host/host_checks.ts";
import { Machine } from "../machine.ts";
import { setMsrs } from "../msrs/msrs.ts";
import { createSlots } from "../memory/memory_slots.ts";
import { RegisterStore } from "../registers/register_store.ts";
import { Examiner } from "../postmortem/postmortem.ts";
import type { RunToRepeat } from "../postmortem/repeated_run.ts";
import { forgives, StrictCheck } from "../postmortem/strict_check.ts";
import { History, setHistory } from "../postmortem/history.ts";
import { setExaminer } from "../report/postmortem.ts";
import { isRefusal } from "../run/run_errors.ts";
import { checkTimeout, timeoutScale } from "../run/time_limit.ts";
import type { BootOptions, Guest } from "./boot_options.ts";
import { checkNames } from "../../x86/defined_entries.ts";
import { type BootPlan, planBoot } from "./boot_plan.ts";
import { createParts, type KvmParts } from "./kvm_parts.ts";
import { type KvmPool, poolFor } from "./kvm_pool.ts";
import { placeSmmHandler } from "./smm_handler.ts";

/** Errors about what the host lacks, or NASM refuses: none of them can be a fault of vmexit's own code. */
const CALLER_ERRORS = [
  AssemblyError,
  HostError,
  KvmError,
  MsrError,
  Deno.errors.NotCapable,
  Deno.errors.NotFound,
];

/**
 * Makes a machine, loads a guest into it, and puts its CPU where the guest starts. Nothing runs yet.
 *
 * @param guest Assembly (`` asm`…` ``, `asm.file(…)`), or an {@linkcode Image} (a flat binary, an ELF file).
 * @throws {RangeError | TypeError} When an option cannot be; before KVM is asked.
 * @throws {AssemblyError} When NASM refuses the source.
 * @throws {HostError} When this host has no KVM, or not that much memory.
 * @throws {Deno.errors.NotCapable} When FFI (`--allow-ffi`) or running NASM (`--allow-run`) is not permitted.
 * @throws {KvmError} When KVM refuses something. Nothing is left open.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";
 *
 * Deno.test("the guest greets", () => {
 *   using vm = boot(asm`
 *     mov al, 'A'
 *     out 0x10, al
 *     hlt
 *   `);
 *   expect(vm).toExit([portOut(0x10, "A"), hlt()]);
 * });
 * ```
 */
export function boot(guest: Guest, options: BootOptions = {}): Machine {
  try {
    checkNames("boot with options", options);
    return timed("booting", () => start(planBoot(guest, options), options.libc));
  } catch (error) {
    // What the test got wrong, or the host lacks, is told at the line of the test.
    if (isRefusal(error) || CALLER_ERRORS.some((kind) => error instanceof kind)) {
      Error.captureStackTrace(error as Error, boot);
    }
    throw error;
  }
}

function start(plan: BootPlan, own: Libc | undefined): Machine {
  const libc = own ?? kvmLibc();
  const pool = own === undefined ? poolFor(libc, plan) : undefined;
  using cleanup = new DisposableStack();
  const board = cleanup.use(makeBoard(plan, libc, pool));
  for (const [range, handler] of plan.ports) board.devices.ports.on(range, handler);
  for (const [range, handler] of plan.mmio) board.devices.mmio.on(range, handler);
  board.beginRecord();
  board.attachDevices();
  board.beginCoverage();
  const repeated: RunToRepeat = {
    original: board,
    boot: () => makeBoard({ ...plan, ...WITHOUT_DEVICES }, libc),
    libc,
  };
  const examiner = board.examiner = new Examiner(repeated);
  if (plan.strict ?? forgives()) {
    const strict = new StrictCheck(repeated, plan.strict === true);
    board.checkStrictly = () => strict.check(board.exitingCpu);
  }
  setHistory(board, new History(repeated));
  setExaminer(board.log, () => examiner.examine());
  const machine = new Machine(board);
  cleanup.move();
  return machine;
}

/** What a machine is booted with whose exits are answered as those of another machine were. */
const WITHOUT_DEVICES: Partial<BootPlan> = {
  devices: [],
  clock: undefined,
  serial: false,
  exitPort: undefined,
  hasOpenBus: false,
  dirtyPages: undefined,
  isTraced: false,
};

/** A machine into which the guest is loaded, and whose CPUs stand where they start. */
function makeBoard(plan: BootPlan, libc: Libc, pool?: KvmPool): Board {
  // What scales it is said before anything is made.
  checkTimeout(plan.timeout);
  const scale = timeoutScale();
  if (plan.interleaving !== undefined) checkHasSingleStep();
  using cleanup = new DisposableStack();
  const parts = takeParts(libc, plan, pool, cleanup);
  const { kvm, vm, tssIsAvailable, dirtyPages } = parts;
  const cpus = parts.vcpus.map((vcpu) => ({
    vcpu,
    store: new RegisterStore(vcpu, tssIsAvailable),
  }));
  const board = cleanup.use(
    new Board({
      libc,
      kvm,
      vm,
      cpus,
      slots: parts.slots,
      dirtyPages,
      timeoutScale: scale,
      settings: plan,
      keep: pool && (() => pool.keep(plan, parts)),
    }),
  );
  board.cpus[0].store.load(plan.state.registers, plan.state.specialRegisters);
  load(board, plan);
  if (plan.smm !== undefined) placeSmmHandler(board.memory, cpus[0].vcpu, plan.smm);
  for (const cpu of board.cpus) startCpu(cpu, plan);
  cleanup.move();
  return board;
}

/** What KVM has of the machine: another's before, or made anew. */
function takeParts(
  libc: Libc,
  plan: BootPlan,
  pool: KvmPool | undefined,
  cleanup: DisposableStack,
): KvmParts {
  const attempt = () => {
    using own = new DisposableStack();
    const slots = createSlots(libc, plan.slots);
    for (const { pages } of slots) own.use(pages);
    const parts = pool?.take(plan, slots, own) ?? createParts(libc, plan, slots, own);
    if (pool !== undefined && !parts.isReused) pool.created(plan, parts);
    cleanup.use(own.move());
    return parts;
  };
  try {
    return attempt();
  } catch (error) {
    // A host that has no more of something has it again once nothing waits; an emulated one may have ended since.
    if (isRefusal(error) || pool === undefined || pool.drain() === 0) throw error;
    return attempt();
  }
}

/** Puts a CPU where it starts. One that waits for a SIPI stays as KVM has made it. */
function startCpu(cpu: Cpu, { starts, state, msrs, irqchip }: BootPlan): void {
  const start = starts[cpu.number];
  if (start === undefined) return cpu.noteBootRegisters();
  // CPU 0 has had them since the guest was loaded through its page tables.
  if (cpu.number > 0) {
    const apic_base = state.specialRegisters.apic_base & ~APIC_BASE_BIT.BOOT_PROCESSOR;
    cpu.store.load(state.registers, { ...state.specialRegisters, apic_base });
  }
  if (state.hasSignature) cpu.registers.set({ rdx: BigInt(signatureOf(cpu.vcpu)) });
  for (const values of start) cpu.registers.set(values);
  // Some MSRs are parts of registers.
  if (msrs.length > 0) setMsrs(cpu, msrs);
  cpu.noteBootRegisters();
  if (cpu.number > 0 && irqchip !== false) cpu.mpState = "RUNNABLE";
}

/** The processor's family, model and stepping, as CPUID says them. */
function signatureOf({ cpuid }: Vcpu): number {
  return cpuid.getCpuid2().find((entry) => entry.function === 1)?.eax ?? 0;
}

/** Writes the mode's tables and the guest into memory. */
function load(board: Board, { state, loadAddress }: BootPlan): void {
  for (const { gpa, bytes } of state.writes) board.memory.write(gpa, bytes);
  board.loaded.load(board.memory, board.cpus[0].linear, loadAddress);
  checkTablesAreWhole(board, state);
}

/**
 * Where the tables of the mode are overwritten, the next interrupt, fault or far jump would go anywhere, and none of it
 * be reported.
 */
function checkTablesAreWhole({ memory }: Board, { writes, faultCatcher }: CpuState): void {
  for (const { gpa, bytes, what, isReplaceable } of writes) {
    if (isReplaceable) continue;
    const loaded = memory.read(gpa, bytes.length);
    if (bytes.every((byte, index) => byte === loaded[index])) continue;
    throw new RangeError(
      `Cannot load the guest: it lies over the ${what} at 0x${gpa.toString(16)}–0x${
        (gpa + bytes.length - 1).toString(16)
      }. Load it elsewhere${faultCatcher === undefined ? "" : ", or leave out `catchFaults`"}.`,
    );
  }
}
