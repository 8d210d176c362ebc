import { asm, type AsmSource, boot, type Machine, type Mode } from "@vmexit/vmexit";
import {
  buildNestedPageTables,
  IoPermissionMap,
  MsrPermissionMap,
  placeRegion,
  type SvmIntercept,
  svmInterceptWords,
  vmcb,
  vmcbGuest,
  writeVmcb,
} from "@vmexit/vmexit/svm";
import { bootState, modeDefaults } from "@vmexit/vmexit/x86";
import { INTERCEPTED_MSR, INTERCEPTED_PORT } from "./intercepted_guest.ts";

const hypervisor = asm.file("../../guests/svm_hypervisor.asm");

/** The hypervisor's memory. */
export const AT = {
  vmcb: 0x10_0000,
  hostState: 0x10_1000,
  ioPermissionMap: 0x10_4000,
  msrPermissionMap: 0x10_8000,
  nestedTables: { start: 0x11_0000, end: 0x12_0000 },
  guestMemory: 0x20_0000,
} as const;
const MEMORY = "4M";
/** The guest's guest has this much, from its address 0 on. */
const GUEST_MEMORY_SIZE = 0x10_0000;

/** A guest of a hypervisor. */
export interface NestedGuest {
  readonly mode: "real" | "protected" | "long";
  readonly code: AsmSource;
  readonly intercepts?: readonly SvmIntercept[];
  readonly ports?: IoPermissionMap;
  readonly msrs?: MsrPermissionMap;
}

/** What the hypervisor intercepts where it is not told. */
export const INTERCEPTS: readonly SvmIntercept[] = [
  "vmrun",
  "ioio_prot",
  "msr_prot",
  "hlt",
  "shutdown",
];

/**
 * A machine with a hypervisor, which has a guest of its own in its memory, with all that it takes to run it.
 */
export function bootNested(nested: NestedGuest): Machine & Disposable {
  const { mode, code, intercepts = INTERCEPTS } = nested;
  const ports = nested.ports ?? new IoPermissionMap().intercept(INTERCEPTED_PORT);
  const msrs = nested.msrs ?? new MsrPermissionMap().intercept(INTERCEPTED_MSR, "read");
  const vm = boot(hypervisor, {
    mode: "long",
    memory: MEMORY,
    registers: { rdi: AT.vmcb, rsi: AT.hostState },
  });

  const state = bootState({ mode: mode as Mode & "long", memorySize: GUEST_MEMORY_SIZE });
  for (const { gpa, bytes } of state.writes) vm.memory.write(AT.guestMemory + gpa, bytes);
  const { code: origin, bits } = modeDefaults[mode];
  vm.memory.write(AT.guestMemory + origin, code.assemble({ origin, bits }).bytes);

  const tables = buildNestedPageTables({
    areas: [AT.nestedTables],
    mappings: [{ gpa: 0, hpa: AT.guestMemory, size: GUEST_MEMORY_SIZE }],
  });
  const block = new Uint8Array(vmcb.size);
  writeVmcb(block, {
    control: {
      intercepts: svmInterceptWords(intercepts),
      iopm_base_pa: AT.ioPermissionMap,
      msrpm_base_pa: AT.msrPermissionMap,
      guest_asid: 1,
      np_enable: 1,
      n_cr3: tables.cr3,
    },
    save: vmcbGuest(state),
  });
  const writes = [
    ...tables.writes,
    placeRegion("VMCB", AT.vmcb, block),
    placeRegion("I/O permission map", AT.ioPermissionMap, ports.bytes),
    placeRegion("MSR permission map", AT.msrPermissionMap, msrs.bytes),
  ];
  for (const { gpa, bytes } of writes) vm.memory.write(gpa, bytes);
  return vm;
}
