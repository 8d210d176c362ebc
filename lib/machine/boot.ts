import { ExitPort } from "../devices/exit_port.ts";
import { Uart } from "../devices/uart.ts";

import { libc as realLibc } from "../ffi/real_libc.ts";
import { AsmSource } from "../guest/asm_source.ts";
import { Image } from "../guest/image.ts";
import { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import type { CpuState, Mode } from "../x86/cpu_state.ts";
import { KVM_PRIVATE_PAGES, LONG_MODE, PORT, REAL_MODE } from "../x86/layout.ts";
import { longMode } from "../x86/modes/long.ts";
import { realMode } from "../x86/modes/real.ts";
import type { BootOptions } from "./boot_options.ts";
import { Machine } from "./machine.ts";
import { type AllocatedSlot, createSlots } from "./memory_slots.ts";

import { RegisterStore } from "./register_store.ts";
import { sizeInBytes } from "./size.ts";
import { DEFAULT_TIMEOUT_MILLISECONDS, scaledTimeout } from "./time_limit.ts";

/** What can be booted: assembly, or an image made before. */
export type Guest = AsmSource | Image;

const MODES: Readonly<Record<Mode, { bits: 16 | 64; code: number; memorySize: number }>> = {
  real: { bits: 16, code: REAL_MODE.code, memorySize: REAL_MODE.memorySize },
  long: { bits: 64, code: LONG_MODE.code, memorySize: LONG_MODE.memorySize },
};

/** Bytes from one selector to the next in real mode. */
const PARAGRAPH = 16;

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
  const mode = modeOf(guest, options);
  const timeout = options.timeout ?? DEFAULT_TIMEOUT_MILLISECONDS;
  scaledTimeout(timeout);
  const recordExits = checkRecordExits(options.recordExits ?? DEFAULT_RECORD_EXITS);
  const memorySize = sizeInBytes(options.memory ?? MODES[mode].memorySize);
  const image = imageOf(guest, options, mode);
  const loadAddress = loadAddressOf(guest, image, options);
  const entry = entryOf(image, options.entry);
  const state = stateOf(mode, realModeStart(options, image, entry, loadAddress), memorySize, entry);
  const libc = options.libc ?? realLibc();
  const slots = createSlots(libc, memorySize, options.slots ?? []);

  using cleanup = new DisposableStack();
  const kvm = cleanup.use(Kvm.open(libc));
  const vm = cleanup.use(kvm.createVm());
  const vcpu = cleanup.use(createVcpu(kvm, vm, slots, options.irqchip ?? false));
  const store = new RegisterStore(vcpu);
  const machine = cleanup.use(
    new Machine({ libc, kvm, vm, vcpu, store, image, mode, slots, timeout, recordExits }),
  );
  connectDevices(machine, options);
  store.load(state.registers, state.specialRegisters);
  load(machine, image, state, loadAddress);
  if (options.registers !== undefined) machine.registers.set(options.registers);
  machine.commitBootState();
  cleanup.move();
  return machine;
}

function modeOf(guest: Guest, { mode }: BootOptions): Mode {
  if (!(guest instanceof AsmSource || guest instanceof Image)) {
    throw new TypeError(
      `Cannot boot ${typeof guest}: it is no guest. Write asm\`…\`, asm.file(…), Image.fromBytes(…) or Image.fromElf(…).`,
    );
  }
  const bits = guest instanceof Image ? guest.bits : guest.declaredBits;
  const chosen = mode ?? (bits === 64 ? "long" : "real");
  if (Object.hasOwn(MODES, chosen)) return chosen;
  throw new RangeError(
    `Cannot boot in mode ${JSON.stringify(chosen)}: there is none of that name. The modes are ${
      Object.keys(MODES).join(" and ")
    }.`,
  );
}

function imageOf(
  guest: Guest,
  { origin, cs, ip }: BootOptions & { cs?: number; ip?: number },
  mode: Mode,
): Image {
  if (guest instanceof Image) return guest;
  const { bits, code } = MODES[mode];
  // A guest started at CS:IP is assembled for offsets in that segment.
  const fallback = cs === undefined ? code : ip ?? 0;
  return guest.assemble({ origin: origin ?? fallback, bits });
}

/**
 * The physical address of a guest's first byte, where that is not what its linear address makes of it. Assembly that is
 * started at CS:IP has offsets in that segment for addresses, unless it was given an origin of its own.
 */
function loadAddressOf(
  guest: Guest,
  image: Image,
  { load, origin, cs }: BootOptions & { cs?: number },
): number | undefined {
  if (load !== undefined || cs === undefined) return load;
  return guest instanceof AsmSource && origin === undefined
    ? cs * PARAGRAPH + image.origin
    : undefined;
}

/** Where only CS is given, IP is the offset of the guest's entry in that segment. */
function realModeStart(
  options: BootOptions & { cs?: number; ip?: number },
  image: Image,
  entry: number,
  loadAddress: number | undefined,
): BootOptions {
  const { cs, ip } = options;
  if (cs === undefined || ip !== undefined) return options;
  const moved = loadAddress === undefined ? 0 : loadAddress - image.origin;
  return { ...options, ip: entry + moved - cs * PARAGRAPH } as BootOptions;
}

function entryOf(image: Image, entry: number | string | undefined): number {
  if (typeof entry === "string") return image.symbol(entry);
  return entry ?? image.entry;
}

function stateOf(mode: Mode, options: BootOptions, memorySize: number, entry: number): CpuState {
  return mode === "long"
    ? longMode({ ...options as Extract<BootOptions, { mode: "long" }>, memorySize, entry })
    : realMode({ ...options as Extract<BootOptions, { mode?: "real" }>, memorySize, entry });
}

function checkRecordExits(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_RECORDED_EXITS) return count;
  throw new RangeError(
    `Cannot record ${count} exits: it is not a whole number from 1 to ${MOST_RECORDED_EXITS}`,
  );
}

function createVcpu(kvm: Kvm, vm: Vm, slots: readonly AllocatedSlot[], irqchip: boolean): Vcpu {
  vm.setRealModePages(KVM_PRIVATE_PAGES.taskState, KVM_PRIVATE_PAGES.identityMap);
  for (const slot of slots) vm.setMemorySlot(slot);
  if (irqchip) vm.createIrqchip();
  using cleanup = new DisposableStack();
  const vcpu = cleanup.use(vm.createVcpu(0));
  vcpu.setCpuid(kvm.supportedCpuid());
  cleanup.move();
  return vcpu;
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
