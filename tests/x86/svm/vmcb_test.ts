import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";
import { descriptorToSegment } from "../../../lib/x86/registers/segment.ts";
import {
  readVmcb,
  segmentToVmcb,
  vmcb,
  vmcb_control_area,
  vmcb_save_area,
  vmcbGuest,
  vmcbToSegment,
  writeVmcb,
} from "../../../lib/x86/svm/vmcb.ts";

/**
 * Where Linux 6.1.170 has the members of `struct vmcb_control_area` and `struct vmcb_save_area`: offsets and
 * sizes that a C compiler gave for arch/x86/include/asm/svm.h of Debian's linux-headers-6.1.0-47-common.
 * Names are the manual's.
 */
const KERNEL_CONTROL = {
  intercepts: [0x00, 24],
  pause_filter_threshold: [0x3c, 2],
  pause_filter_count: [0x3e, 2],
  iopm_base_pa: [0x40, 8],
  msrpm_base_pa: [0x48, 8],
  tsc_offset: [0x50, 8],
  guest_asid: [0x58, 4],
  tlb_control: [0x5c, 1],
  v_tpr: [0x60, 4], // int_ctl
  v_intr_vector: [0x64, 1], // int_vector, of which 8 bits are used
  interrupt_shadow: [0x68, 4], // int_state
  exitcode: [0x70, 8], // exit_code and exit_code_hi
  exitinfo1: [0x78, 8],
  exitinfo2: [0x80, 8],
  exitintinfo: [0x88, 8],
  np_enable: [0x90, 4], // nested_ctl
  avic_apic_bar: [0x98, 8],
  ghcb_gpa: [0xa0, 8],
  eventinj: [0xa8, 8],
  n_cr3: [0xb0, 8],
  lbr_virtualization_enable: [0xb8, 4], // virt_ext
  vmcb_clean: [0xc0, 4],
  nrip: [0xc8, 8],
  number_of_bytes_fetched: [0xd0, 1],
  guest_instruction_bytes: [0xd1, 15],
  avic_apic_backing_page: [0xe0, 8],
  avic_logical_table: [0xf0, 8],
  avic_physical_table: [0xf8, 8],
  vmsa_pointer: [0x108, 8],
  host_reserved: [0x3e0, 32],
} as const;

const KERNEL_SAVE = {
  es: [0x00, 16],
  cs: [0x10, 16],
  ss: [0x20, 16],
  ds: [0x30, 16],
  fs: [0x40, 16],
  gs: [0x50, 16],
  gdtr: [0x60, 16],
  ldtr: [0x70, 16],
  idtr: [0x80, 16],
  tr: [0x90, 16],
  cpl: [0xcb, 1],
  efer: [0xd0, 8],
  cr4: [0x148, 8],
  cr3: [0x150, 8],
  cr0: [0x158, 8],
  dr7: [0x160, 8],
  dr6: [0x168, 8],
  rflags: [0x170, 8],
  rip: [0x178, 8],
  rsp: [0x1d8, 8],
  s_cet: [0x1e0, 8],
  ssp: [0x1e8, 8],
  isst_addr: [0x1f0, 8],
  rax: [0x1f8, 8],
  star: [0x200, 8],
  lstar: [0x208, 8],
  cstar: [0x210, 8],
  sfmask: [0x218, 8],
  kernel_gs_base: [0x220, 8],
  sysenter_cs: [0x228, 8],
  sysenter_esp: [0x230, 8],
  sysenter_eip: [0x238, 8],
  cr2: [0x240, 8],
  g_pat: [0x268, 8],
  dbgctl: [0x270, 8],
  br_from: [0x278, 8],
  br_to: [0x280, 8],
  lastexcpfrom: [0x288, 8],
  lastexcpto: [0x290, 8],
  spec_ctrl: [0x2e0, 4],
} as const;

Deno.test("the VMCB's areas lie, and are as large, as the kernel's header and the manual have them", () => {
  assertEquals([vmcb.size, vmcb.offsetOf("control"), vmcb.offsetOf("save")], [4096, 0, 0x400]);
  for (
    const [area, places] of [[vmcb_control_area, KERNEL_CONTROL], [
      vmcb_save_area,
      KERNEL_SAVE,
    ]] as const
  ) {
    const fields = new Map(area.fields.map(({ path, offset, size }) => [path, [offset, size]]));
    for (const [name, place] of Object.entries(places)) {
      assertEquals([name, fields.get(name)], [name, [...place]]);
    }
  }
  // What the header of 6.1 does not have yet.
  assertEquals(vmcb_control_area.offsetOf("vmgexit_rax"), 0x110);
  assertEquals(vmcb_control_area.offsetOf("vmgexit_cpl"), 0x118);
  assertEquals(vmcb_save_area.offsetOf("dbgextncfg"), 0x298);
});

const V_INTR_BITS = [
  ["v_tpr", 0, 8],
  ["v_irq", 8, 1],
  ["vgif", 9, 1],
  ["v_nmi", 11, 1],
  ["v_nmi_mask", 12, 1],
  ["v_intr_prio", 16, 4],
  ["v_ign_tpr", 20, 1],
  ["v_intr_masking", 24, 1],
  ["vgif_enable", 25, 1],
  ["v_nmi_enable", 26, 1],
  ["x2avic_enable", 30, 1],
  ["avic_enable", 31, 1],
] as const;

Deno.test("the bits of a VMCB's interrupt control lie where the manual has them", () => {
  for (const [name, first, count] of V_INTR_BITS) {
    const view = new DataView(new ArrayBuffer(vmcb.size));
    vmcb.write(view, 0, { control: { [name]: 2 ** count - 1 } });
    assertEquals([name, view.getUint32(0x60, true)], [name, (2 ** count - 1) * 2 ** first]);
  }
});

Deno.test("writing a VMCB leaves its reserved bytes, and what is not given", () => {
  const bytes = new Uint8Array(vmcb.size).fill(0xaa);
  const view = new DataView(bytes.buffer);
  const before = vmcb.read(view);
  vmcb.write(view, 0, before);
  assertEquals(bytes, new Uint8Array(vmcb.size).fill(0xaa));

  vmcb.write(view, 0, { control: { n_cr3: 0x1000 }, save: { rip: 7n } });
  const after = vmcb.read(view);
  before.control.n_cr3 = 0x1000n;
  before.save.rip = 7n;
  assertEquals(after, before);
  assertEquals(readVmcb(bytes), after);
  writeVmcb(bytes, { save: { rip: 8 } });
  assertEquals(vmcb.read(view).save.rip, 8n);
  assertThrows(() => readVmcb(bytes.subarray(1)), RangeError, "Cannot read vmcb");
  assertThrows(
    () => vmcb.write(view, 0, { save: { ripp: 1n } as never }),
    TypeError,
    "vmcb.save has no such member",
  );
});

Deno.test("a boot state becomes a VMCB's save area: the registers, SVME in EFER, CPL of SS", () => {
  const view = new DataView(new ArrayBuffer(vmcb.size));
  const state = bootState({ mode: "long", cpl: 3 });
  vmcb.write(view, 0, { save: vmcbGuest(state) });
  const { save } = vmcb.read(view);
  assertEquals([save.rip, save.cpl, save.efer], [
    0x1_0000n,
    3,
    0x1d00n | state.specialRegisters.efer,
  ]);
  assertEquals(save.cs, segmentToVmcb(state.specialRegisters.cs));
  assertEquals(save.gdtr, { selector: 0, attrib: 0, ...state.specialRegisters.gdt });
  assertEquals(vmcbToSegment(save.tr), state.specialRegisters.tr);
});

Deno.test("segments come back from a VMCB as they went in", () => {
  fc.assert(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(0xffff), (descriptor, selector) => {
    const segment = descriptorToSegment(descriptor | 1n << 47n, selector);
    assertEquals(vmcbToSegment(segmentToVmcb(segment)), segment);
  }));
});
