import { asm, boot, requires } from "@vmexit/vmexit";
import { Pic } from "@vmexit/vmexit/devices";
import { assert, assertMatch, assertThrows } from "@std/assert";

const FILE = "faults.asm";
const SOURCE = Deno.readTextFileSync(`${import.meta.dirname}/faults/${FILE}`).split("\n");
/** The line that is to blame. */
const MARK = /; FAULT$/;

/** What the page of each fault of `faults/faults.asm` says beside the line that is marked there. */
const FAULTS: Readonly<Record<string, RegExp>> = {
  far_jump_to_data: /CS = 0x0010 names no code segment .* selector 0x08/,
  gdt_limit_short: /the GDT's limit is 0x02: entry 1 .* lies outside/,
  gdt_base_without_org: /GDTR \(base 0x\w+, limit 0x1f\) was last written by `lgdt/,
  gdt_base_without_segment: /wrong_gdtr .* \(DS = 0x07c0 has base 0x7c00\)/,
  data_not_present: /#NP\(0x10\) .* not present \(P = 0\)/,
  code_16_bits: /assembled for another width than that of CS = 0x0008/,
  bios_in_protected_mode: /Vector 16 \(a software interrupt\) .* is still real mode's/,
  null_stack_segment: /a stack segment may not be null/,
  busy_tss: /the TSS is busy already/,
  gate_without_selector: /CS = 0x0000 is null/,
  gate_of_wrong_type: /is no gate \(available TSS\)/,
  error_code_not_popped: /One slot above, the frame fits: .* an error code/,
  near_return_from_handler: /took one slot of it, where IRET takes all/,
  irq_not_remapped:
    /Vector 8 \(an interrupt\) .* RFLAGS\.IF = 1: IRQ 0, where the PICs are as the BIOS leaves them/,
  misaligned_movaps: /is not a multiple of 16/,
  avx_not_enabled: /CR4\.OSXSAVE \(bit 18\) = 0 .* XSETBV/,
  paging_without_table: /PDE\[0\] at 0x8000 should probably be 0x00009003/,
  large_page_without_pse: /PS \(bit 7\) set, which is ignored while CR4\.PSE \(bit 4\) = 0/,
  write_protected: /PTE\[32\] at 0x9080 should probably be 0x00020003 .* CR0 \(0x80010031\)/,
  pdpt_entry_not_present: /bit 0 \(P\) is clear/,
  pml4_entry_elsewhere: /PML4E\[0\] at 0x60000 should probably be 0x0000000000061003/,
  no_execute_without_nxe: /bit 63 needs EFER\.NXE = 1/,
  compatibility_code: /32-bit code.* CS \(0x8\) was last written by `jmp/,
  iret_of_32_bits: /With slots of 8 bytes the frame fits: .* \(iretq/,
  idt_of_8_byte_gates: /a gate of 8 bytes: in long mode a gate has 16/,
  stack_not_mapped: /RSP \(0x80000000\) was last written by/,
  ist_of_nothing: /IST1 of the TSS .* is 0x0, and no stack is there/,
  no_stack_for_ring_0: /RSP0 of the TSS .* is 0x0, and no stack is there/,
  gate_of_ring_0: /the gate's DPL, 0, is below the CPL, 3/,
  page_of_the_supervisor: /supervisor only at PML4E/,
  sysret_not_canonical: /RCX = 0x800000000000, which is not canonical/,
  syscall_not_enabled: /EFER\.SCE \(bit 0\) = 1/,
  swapgs_twice: /GS\.BASE \(0x40000000\) was last written by `swapgs`/,
  unknown_msr: /no MSR 0x12345678/,
  cr4_reserved_bit: /the reserved bit 31 set/,
  divide_without_handler: /the divisor is 0/,
};

/** The line of the fault that has this name. */
function lineOf(name: string): number {
  const start = SOURCE.findIndex((line) => new RegExp(`^%(el)?ifdef ${name}\\b`).test(line));
  return SOURCE.findIndex((line, index) => index > start && MARK.test(line)) + 1;
}

function pageOf(name: string): string {
  const guest = asm.file(`faults/${FILE}`, { define: { [name]: 1 } });
  const pic = new Pic({ vectors: [0x08, 0x70] });
  const devices = name.startsWith("irq") ? [pic] : [];
  using vm = boot(guest, {
    mode: "real",
    origin: 0x7c00,
    memory: "8M",
    timeout: 20,
    devices,
  });
  return assertThrows(() => {
    vm.run(devices.length > 0 ? { until: "halted" } : {});
    pic.setLine(0, true);
    vm.run();
  }, Error).message.replaceAll(/\s+/g, " ");
}

for (const [name, why] of Object.entries(FAULTS)) {
  Deno.test(requires({ singleStep: true }, `the line and the cause of a fault: ${name}`), () => {
    const page = pageOf(name);
    assert(page.includes(`${FILE}:${lineOf(name)}`), `line ${lineOf(name)} is not named: ${page}`);
    assertMatch(page, why);
  });
}
