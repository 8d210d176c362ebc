import type { Vm } from "../../kvm/vm.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { describeExit } from "../../kvm/exits/describe_exit.ts";
import { unrealMode } from "../../x86/boot/modes/real.ts";
import type { BackedSlot } from "./memory_slots.ts";
import { pieceBytes, storePiece } from "./physical_memory.ts";

/** Where the reader lies meanwhile, in the main memory. */
const READER_ENTRY = 0x500;

/** `next: mov al, [esi]` · `add esi, 4096` · `cmp esi, edi` · `jb next` · `out 0x80, al`, as 16-bit code. */
// deno-fmt-ignore
const READER = Uint8Array.of(
  0x67, 0x8a, 0x06, 0x66, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00, 0x66, 0x39, 0xfe, 0x72, 0xf1, 0xe6, 0x80,
);

/** How much is mapped where the guest has to do it: a page takes an exit of the processor, if none of KVM's. */
const MOST_READ = 32 * 1024 * 1024;

/** The reader's addresses have 32 bits. */
const READABLE_END = 2 ** 32 - PAGE_SIZE;

/**
 * Has KVM map the pages of some slots before their writes are noted.
 *
 * KVM maps a page writable where it can, also when the guest only reads it, and counts it as written if writes are
 * noted at that time (`make_spte` in arch/x86/kvm/mmu/spte.c). Of a page that is mapped by then it notes the first
 * write, and nothing else. Where the kernel has no call for it (KVM_CAP_PRE_FAULT_MEMORY, Linux 6.11), the vCPU reads
 * the pages before it gets its state.
 *
 * @param vcpu One that has not run, and whose registers are still to be set.
 * @param slots One of them has memory where the reader lies.
 */
export function mapPages(vm: Vm, vcpu: Vcpu, slots: readonly BackedSlot[]): void {
  if (vm.capability("KVM_CAP_PRE_FAULT_MEMORY") > 0) {
    for (const { gpa, size } of slots) vcpu.preFaultMemory(gpa, size);
    return;
  }
  const home = slots.find(({ gpa, size }) =>
    gpa <= READER_ENTRY && READER_ENTRY + READER.length <= gpa + size
  );
  if (home === undefined) {
    throw new TypeError(
      "Cannot note which pages the guest writes: a kernel without KVM_CAP_PRE_FAULT_MEMORY (Linux 6.11) needs RAM at " +
        `0x${
          READER_ENTRY.toString(16)
        } for that. Give the machine some, or leave out \`dirtyPages\`.`,
    );
  }
  const place = { pages: home.pages, start: READER_ENTRY - home.gpa, length: READER.length };
  const before = pieceBytes(place).slice();
  storePiece(place, READER);
  let rest = MOST_READ;
  for (const { gpa, size } of slots) {
    const end = Math.min(gpa + size, gpa + rest, READABLE_END);
    if (end <= gpa) continue;
    rest -= end - gpa;
    read(vcpu, gpa, end);
  }
  storePiece(place, before);
}

/** Runs the reader over the pages of a range. */
function read(vcpu: Vcpu, start: number, end: number): void {
  const { registers, specialRegisters } = unrealMode({ entry: READER_ENTRY });
  vcpu.registers.setSregs({ ...vcpu.registers.getSregs(), ...specialRegisters });
  vcpu.registers.setRegs({ ...registers, rsi: BigInt(start), rdi: BigInt(end) });
  const { kvmRun } = vcpu;
  while (vcpu.run() !== 0);
  if (kvmRun.exitReason !== EXIT_REASON.IO) {
    throw new Error(`The pages of memory could not be mapped: ${describeExit(kvmRun.exit())}`);
  }
  // Finished, so that KVM does not step over an instruction of the guest's instead.
  kvmRun.immediateExit = true;
  vcpu.run();
  kvmRun.immediateExit = false;
}
