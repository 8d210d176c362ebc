import { ExitPort } from "../../devices/exit_port.ts";
import { Uart } from "../../devices/uart.ts";
import { HostError } from "../../ffi/host_error.ts";
import { AssemblyError } from "../../guest/assembly_error.ts";
import type { Image } from "../../guest/image.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { KvmError } from "../../kvm/kvm_error.ts";
import { MsrError } from "../../kvm/msr_error.ts";
import { kvmLibc } from "../../kvm/remote/kvm_choice.ts";
import type { Vm } from "../../kvm/vm.ts";
import { bootState } from "../../x86/boot_state.ts";
import type { CpuState } from "../../x86/cpu_state.ts";
import { KVM_PRIVATE_PAGES, PORT } from "../../x86/layout.ts";
import { defaultsOf, modeOf } from "./boot_mode.ts";
import type { BootOptions } from "./boot_options.ts";
import { checkCpuCount, checkCpuOptions, cpuCount, withCpuDefaults } from "./cpu_options.ts";
import { checkCpuidOptions, editedCpuid } from "../cpuid/cpuid_options.ts";
import type { Guest } from "./guest.ts";
import { checkInterruptControllers, createInterruptControllers } from "../interrupts/irqchip.ts";
import { DirtyLog } from "../memory/dirty_log.ts";
import type { DirtyPages } from "../memory/dirty_pages.ts";
import { DirtyRings, ringEntries } from "../memory/dirty_rings.ts";
import { placeGuest } from "./guest_placement.ts";
import { isAmd, refuseMissingFeatures } from "../host/host_cpuid.ts";
import { Machine } from "../machine.ts";
import { msrEntries } from "../msrs/msrs.ts";
import { cpuidOfCpus, startCpus } from "./start_cpus.ts";
import { createSlots } from "../memory/memory_slots.ts";
import { refuseUnknownOptions } from "./option_names.ts";
import { RegisterStore } from "../registers/register_store.ts";
import { sizeInBytes } from "../memory/size.ts";
import { SlotTable } from "../memory/slot_table.ts";
import { checkHasSmm, placeSmmHandler, smmHandler } from "./smm_handler.ts";
import { checkCapabilities, enableCapabilities } from "./vm_capabilities.ts";
import { DEFAULT_TIMEOUT_MILLISECONDS, scaledTimeout } from "../run/time_limit.ts";

/** Errors about what the caller gave, or about the host: none of them can be a fault of vmexit's own code. */
const CALLER_ERRORS = [
  AssemblyError,
  HostError,
  KvmError,
  MsrError,
  RangeError,
  Deno.errors.NotCapable,
];

const DEFAULT_RECORD_EXITS = 64;
const MOST_RECORDED_EXITS = 2 ** 20;

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
    return bootGuest(guest, options);
  } catch (error) {
    // What the test got wrong, or the host lacks, is told at the line of the test.
    if (CALLER_ERRORS.some((kind) => error instanceof kind)) {
      Error.captureStackTrace(error as Error, boot);
    }
    throw error;
  }
}

function bootGuest(guest: Guest, given: BootOptions): Machine {
  const mode = modeOf(guest, given);
  checkCpuOptions(given, mode);
  const options = withCpuDefaults(given);
  const defaults = defaultsOf(mode, options);
  refuseUnknownOptions(mode, options);
  const timeout = options.timeout ?? DEFAULT_TIMEOUT_MILLISECONDS;
  scaledTimeout(timeout);
  const recordExits = checkRecordExits(options.recordExits ?? DEFAULT_RECORD_EXITS);
  checkInterruptControllers(options);
  ringEntries(options.dirtyPages);
  if (options.cpuid !== undefined) checkCpuidOptions(options.cpuid);
  if (options.msrs !== undefined) msrEntries(options.msrs);
  const memorySize = sizeInBytes(options.memory ?? defaults.memorySize);
  const { image, loadAddress, entry, layout } = placeGuest(
    guest,
    options,
    mode,
    defaults,
    memorySize,
  );
  const state = bootState(layout);
  checkCapabilities(options.capabilities ?? {});
  const smm = options.smm && smmHandler(options.smm, image, memorySize);
  const libc = options.libc ?? kvmLibc();
  const slots = createSlots(libc, memorySize, options.slots ?? [], options.hugePages ?? false);

  using cleanup = new DisposableStack();
  for (const { pages } of slots) cleanup.use(pages);
  const kvm = cleanup.use(Kvm.open(libc));
  if (smm !== undefined) checkHasSmm(kvm);
  checkCpuCount(kvm, cpuCount(options));
  const vm = cleanup.use(kvm.createVm());
  const supported = kvm.getSupportedCpuid();
  const cpuid = options.cpuid === undefined
    ? supported
    : editedCpuid(kvm, supported, options.cpuid);
  refuseMissingFeatures(cpuid, state);
  const dirtyPages = cleanup.use(dirtyPagesOf(vm, options));
  const memory = new SlotTable(libc, vm, slots, dirtyPages, smm !== undefined);
  prepareVm(vm, options);
  const tssIsAvailable = isAmd(supported);
  const cpus = cpuidOfCpus(cpuid, cpuCount(options)).map((answers, number) => {
    const vcpu = cleanup.use(vm.createVcpu(number));
    vcpu.cpuid.setCpuid2(answers);
    dirtyPages?.attach(vcpu);
    return { vcpu, store: new RegisterStore(vcpu, tssIsAvailable) };
  });
  memory.noteWrites(cpus[0].vcpu);
  const machine = cleanup.use(
    new Machine({
      libc,
      kvm,
      vm,
      cpus,
      interleaving: options.interleaving,
      image,
      mode,
      slots: memory,
      dirtyPages,
      timeout,
      recordExits,
      hasSmm: smm !== undefined,
      irqchip: options.irqchip ?? false,
      pit: options.pit ?? false,
      faultCatcher: state.faultCatcher,
    }),
  );
  connectDevices(machine, options);
  cpus[0].store.load(state.registers, state.specialRegisters);
  load(machine, image, state, loadAddress);
  if (smm !== undefined) placeSmmHandler(machine.memory, cpus[0].vcpu, smm);
  startCpus({ machine, cpus, state, entry, options });
  cleanup.move();
  return machine;
}

function checkRecordExits(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_RECORDED_EXITS) return count;
  throw new RangeError(
    `Cannot record ${count} exits: it is not a whole number from 1 to ${MOST_RECORDED_EXITS}`,
  );
}

function dirtyPagesOf(vm: Vm, { dirtyPages }: BootOptions): DirtyPages | undefined {
  if (dirtyPages === undefined) return undefined;
  const entries = ringEntries(dirtyPages);
  return entries === undefined ? new DirtyLog(vm) : new DirtyRings(vm, entries);
}

/** All that must be before the first vCPU. */
function prepareVm(vm: Vm, options: BootOptions): void {
  vm.setRealModePages(KVM_PRIVATE_PAGES.taskState, KVM_PRIVATE_PAGES.identityMap);
  enableCapabilities(vm, options.capabilities ?? {});
  createInterruptControllers(vm, options);
}

function connectDevices(machine: Machine, { serial = true, exitPort }: BootOptions): void {
  const com1 = serial ? new Uart(PORT.com1, "COM1") : undefined;
  if (com1 !== undefined) {
    machine.ports.on([PORT.com1, PORT.com1 + PORT.serialPorts - 1], com1);
  }
  const exit = exitPort === undefined ? undefined : new ExitPort(() => machine.stop());
  if (exit !== undefined) machine.ports.on(exitPort!, exit);
  machine.connect({ serial: com1, exitPort: exit });
}

/** Writes the mode's tables and the guest into memory. */
function load(machine: Machine, image: Image, state: CpuState, at: number | undefined): void {
  loadGuest(machine, image, state, at);
  refuseOverwrittenTables(machine, state);
}

/**
 * Where the tables of the mode are overwritten, the next interrupt, fault or far jump would go anywhere, and none of it
 * be reported.
 */
function refuseOverwrittenTables({ memory }: Machine, { writes, faultCatcher }: CpuState): void {
  for (const { gpa, bytes, what } of writes) {
    const loaded = memory.read(gpa, bytes.length);
    if (bytes.every((byte, index) => byte === loaded[index])) continue;
    throw new RangeError(
      `Cannot load the guest: it lies over the ${what} at 0x${gpa.toString(16)}–0x${
        (gpa + bytes.length - 1).toString(16)
      }. Load it elsewhere${faultCatcher === undefined ? "" : ", or leave out `catchFaults`"}.`,
    );
  }
}

function loadGuest(machine: Machine, image: Image, state: CpuState, at: number | undefined): void {
  for (const { gpa, bytes } of state.writes) machine.memory.write(gpa, bytes);
  for (const { address, bytes, size } of image.segments) {
    try {
      const zeroed = new Uint8Array(size);
      zeroed.set(bytes);
      if (at === undefined) machine.linear.write(address, zeroed);
      else machine.memory.write(at + address - image.origin, zeroed);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(
        `Cannot load ${size} bytes of the guest at ${at === undefined ? "linear" : "physical"} 0x${
          ((at ?? image.origin) + address - image.origin).toString(16)
        }: they do not fit the machine's memory. Give it more with the \`memory\` option, or load the guest elsewhere. ${error.message}`,
        { cause: error },
      );
    }
  }
}
