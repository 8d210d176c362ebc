import { asm, type AsmSource, boot, type Machine, type Mode } from "@vmexit/vmexit";
import { placeRegion } from "@vmexit/vmexit/svm";
import {
  adjustVmxControls,
  buildEptTables,
  decodeVmxBasic,
  type EptMapping,
  isIa32e,
  pinBasedControls,
  primaryProcessorBasedControls,
  secondaryProcessorBasedControls,
  vmcsField,
  type VmcsFieldName,
  vmcsGuest,
  vmcsHost,
  vmcsRegion,
  type VmcsValues,
  vmEntryControls,
  vmExitControls,
  vmInstructionError,
  vmxExitReason,
  VmxIoBitmaps,
  VmxMsrBitmap,
  vmxonRegion,
} from "@vmexit/vmexit/vmx";
import {
  bootState,
  type CpuState,
  cr0Flags,
  getFlag,
  modeDefaults,
  type MsrValues,
} from "@vmexit/vmexit/x86";
import { INTERCEPTED_MSR, INTERCEPTED_PORT, REPORT } from "./intercepted_guest.ts";

const hypervisor = asm.file("../../guests/vmx_hypervisor.asm");

/** Where the hypervisor reports that an instruction of VMX failed (guests/vmx_hypervisor.asm). */
export const FAILED = 0x1004;

/** The hypervisor's memory. */
export const AT = {
  vmxon: 0x10_0000,
  vmcs: 0x10_1000,
  bitmapA: 0x10_2000,
  bitmapB: 0x10_3000,
  msrBitmap: 0x10_4000,
  writes: 0x10_6000,
  reads: 0x10_7000,
  ept: { start: 0x11_0000, end: 0x12_0000 },
  guestMemory: 0x20_0000,
} as const;
/** The guest's guest has this much, from its address 0 on. */
const GUEST_MEMORY_SIZE = 0x10_0000;

const PAIR = 16;
const END_OF_TABLE = 0xffff_ffff_ffff_ffffn;

/** What the hypervisor reads from the VMCS at each exit. */
const READ: readonly VmcsFieldName[] = [
  "exit_reason",
  "exit_qualification",
  "guest_physical_address",
  "vm_exit_instruction_length",
  "guest_rip",
];
/** The fields that the hypervisor read at an exit of its guest. */
export type NestedExit = Record<string, bigint>;

/** What is run, and what of its surroundings is not as usual. */
export interface NestedGuest {
  readonly mode: "real" | "protected" | "long";
  readonly code: AsmSource;
  readonly ports?: VmxIoBitmaps;
  readonly mapping?: Partial<EptMapping>;
  /** Fields that are to be other than they should. */
  readonly fields?: VmcsValues;
  readonly revision?: number;
  readonly msrs?: MsrValues;
}

/** Controls that no test uses: a VMCS holds nothing certain after VMCLEAR. */
const NOTHING_ELSE: VmcsValues = {
  exception_bitmap: 0n,
  page_fault_error_code_mask: 0n,
  page_fault_error_code_match: 0n,
  cr3_target_count: 0n,
  cr0_guest_host_mask: 0n,
  cr0_read_shadow: 0n,
  vm_exit_msr_store_count: 0n,
  vm_exit_msr_load_count: 0n,
  vm_entry_msr_load_count: 0n,
  vm_entry_interruption_information: 0n,
};

/** The controls for a guest that leaves by the bitmaps, and runs on EPT's tables. */
function controls(vm: Machine, state: CpuState): VmcsValues {
  const hasPaging = getFlag(cr0Flags, "pg", state.specialRegisters.cr0) === true;
  const basic = decodeVmxBasic(vm.msrs.get("IA32_VMX_BASIC"));
  const capability = (name: "PINBASED" | "PROCBASED" | "EXIT" | "ENTRY") =>
    vm.msrs.get(`IA32_VMX_${basic.trueControls ? "TRUE_" : ""}${name}_CTLS`);
  return {
    pin_based_vm_execution_controls: adjustVmxControls(
      pinBasedControls,
      capability("PINBASED"),
      {},
    ),
    primary_processor_based_vm_execution_controls: adjustVmxControls(
      primaryProcessorBasedControls,
      capability("PROCBASED"),
      {
        hlt_exiting: true,
        use_io_bitmaps: true,
        use_msr_bitmaps: true,
        activate_secondary_controls: true,
        // These leave at every access to CR3 unless the CPU has the true controls.
        ...basic.trueControls ? { cr3_load_exiting: false, cr3_store_exiting: false } : {},
      },
    ),
    secondary_processor_based_vm_execution_controls: adjustVmxControls(
      secondaryProcessorBasedControls,
      vm.msrs.get("IA32_VMX_PROCBASED_CTLS2"),
      { enable_ept: true, unrestricted_guest: !hasPaging },
    ),
    vm_exit_controls: adjustVmxControls(vmExitControls, capability("EXIT"), {
      host_address_space_size: true,
      save_ia32_efer: true,
      load_ia32_efer: true,
    }),
    vm_entry_controls: adjustVmxControls(vmEntryControls, capability("ENTRY"), {
      ia32e_mode_guest: isIa32e(state),
      load_ia32_efer: true,
    }),
  };
}

/**
 * A machine with a hypervisor, which has a guest of its own in its memory, with all that it takes to run it.
 */
export function bootNested(nested: NestedGuest): Machine {
  const { mode, code, mapping = {}, fields = {} } = nested;
  const ports = nested.ports ?? new VmxIoBitmaps().intercept(INTERCEPTED_PORT);
  const msrs = new VmxMsrBitmap().intercept(INTERCEPTED_MSR, "read");
  const vm = boot(hypervisor, {
    mode: "long",
    memory: "4M",
    msrs: nested.msrs ?? {},
    registers: { rdi: AT.vmxon, rsi: AT.vmcs, rbp: AT.writes, rbx: AT.reads },
  });

  const state = bootState({ mode: mode as Mode & "long", memorySize: GUEST_MEMORY_SIZE });
  for (const { gpa, bytes } of state.writes) vm.memory.write(AT.guestMemory + gpa, bytes);
  const { code: origin, bits } = modeDefaults[mode];
  vm.memory.write(AT.guestMemory + origin, code.assemble({ origin, bits }).bytes);

  const ept = buildEptTables({
    areas: [AT.ept],
    mappings: [{ gpa: 0, hpa: AT.guestMemory, size: GUEST_MEMORY_SIZE, ...mapping }],
  });
  const basic = decodeVmxBasic(vm.msrs.get("IA32_VMX_BASIC"));
  const values: VmcsValues = {
    ...controls(vm, state),
    ...NOTHING_ELSE,
    ...vmcsGuest(state),
    ...vmcsHost(bootState({ mode: "long" })),
    address_of_io_bitmap_a: BigInt(AT.bitmapA),
    address_of_io_bitmap_b: BigInt(AT.bitmapB),
    address_of_msr_bitmaps: BigInt(AT.msrBitmap),
    ept_pointer: ept.pointer,
    ...fields,
  };
  const writes = [
    ...ept.writes,
    placeRegion("VMXON region", AT.vmxon, vmxonRegion(basic)),
    placeRegion("VMCS", AT.vmcs, vmcsRegion(nested.revision ?? basic)),
    placeRegion("I/O bitmap A", AT.bitmapA, ports.a),
    placeRegion("I/O bitmap B", AT.bitmapB, ports.b),
    placeRegion("MSR bitmap", AT.msrBitmap, msrs.bytes),
    placeRegion("fields to write", AT.writes, pairs(values)),
    placeRegion(
      "fields to read",
      AT.reads,
      pairs(Object.fromEntries(READ.map((name) => [name, 0n]))),
    ),
  ];
  for (const { gpa, bytes } of writes) vm.memory.write(gpa, bytes);
  return vm;
}

/** Fields and values as the hypervisor takes them. */
function pairs(values: VmcsValues): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(values) as [VmcsFieldName, bigint][];
  const view = new DataView(new ArrayBuffer((entries.length + 1) * PAIR));
  entries.forEach(([name, value], index) => {
    view.setBigUint64(index * PAIR, BigInt(vmcsField(name).encoding), true);
    view.setBigUint64(index * PAIR + 8, value, true);
  });
  view.setBigUint64(entries.length * PAIR, END_OF_TABLE, true);
  return new Uint8Array(view.buffer);
}

/** Every exit of the guest's guest, as the hypervisor read it from the VMCS. */
export function recordNestedExits(vm: Machine): NestedExit[] {
  const exits: NestedExit[] = [];
  vm.ports.on(REPORT, {
    write: () => {
      const values = READ.map((_, index) => vm.memory.u64(AT.reads + index * PAIR + 8));
      exits.push(Object.fromEntries(READ.map((name, index) => [name, values[index]])));
    },
  });
  vm.ports.on(FAILED, {
    write: (_port, error) => {
      throw new Error(`VMX refused an instruction: ${vmInstructionError(error) ?? "no VMCS"}`);
    },
  });
  return exits;
}

/** The names of the exits' reasons. */
export const namesOf = (exits: readonly NestedExit[]): (string | undefined)[] =>
  exits.map(({ exit_reason }) => vmxExitReason(exit_reason).name);
