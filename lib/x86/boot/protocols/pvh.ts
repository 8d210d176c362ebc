import { struct, u32, u64 } from "../../../ffi/struct.ts";
import type { CpuState } from "../cpu_state.ts";
import { kernelEntry } from "./kernel_entry.ts";
import {
  BootMemory,
  cString,
  informationRoom,
  type KernelLayout,
  memoryMap,
} from "./memory_map.ts";
import { table } from "./multiboot.ts";

/** `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with bit 7 of the "E" set. */
export const PVH_MAGIC = 0x336e_c578;

const START_INFO_VERSION = 1;

/** `struct hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h). */
const startInfo = struct("hvm_start_info", {
  magic: u32,
  version: u32,
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64,
  cmdline_paddr: u64,
  rsdp_paddr: u64,
  memmap_paddr: u64,
  memmap_entries: u32,
  reserved: u32,
});
const moduleEntry = struct("hvm_modlist_entry", {
  paddr: u64,
  size: u64,
  cmdline_paddr: u64,
  reserved: u64,
});
const mapEntry = struct("hvm_memmap_table_entry", {
  addr: u64,
  size: u64,
  type: u32,
  reserved: u32,
});

/**
 * The state in which a kernel is entered by PVH's boot ABI (Xen, "PVH boot ABI", misc/pvh.pandoc), and `hvm_start_info`, version 1,
 * with all that EBX leads to: command line, modules, memory map, and the RSDP where one is named.
 *
 * @param layout What the kernel is, and what it is told.
 * @throws {RangeError} When there is no room for all of it below 4 GiB.
 * @example
 * ```ts
 * import { pvhEntry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, writes } = pvhEntry({ entry: 0x10_0000, ram: [{ gpa: 0, size: 0x20_0000 }], kernel: [] });
 * const info = writes.find(({ gpa }) => BigInt(gpa) === registers.rbx)!;
 * assertEquals(new DataView(info.bytes.buffer).getUint32(0, true), 0x336e_c578);
 * ```
 */
export function pvhEntry(layout: KernelLayout): CpuState {
  const { entry, kernel, commandLine = "", modules = [], rsdp = 0 } = layout;
  const memory = new BootMemory(layout, kernel);
  const room = informationRoom(layout);
  const text = (what: string, value: string) => memory.put(what, cString(value), room);
  const map = table(
    mapEntry,
    memoryMap(layout).map(({ base, length, type }) => ({ addr: base, size: length, type })),
  );
  const list = table(
    moduleEntry,
    modules.map(({ bytes, commandLine }, index) => ({
      paddr: memory.putFile(`module ${index}`, bytes),
      size: bytes.length,
      cmdline_paddr: text(`command line of module ${index}`, commandLine),
    })),
  );
  const info = table(startInfo, [{
    magic: PVH_MAGIC,
    version: START_INFO_VERSION,
    nr_modules: modules.length,
    modlist_paddr: modules.length > 0 ? memory.put("list of modules", list, room) : 0,
    cmdline_paddr: text("command line", commandLine),
    rsdp_paddr: rsdp,
    memmap_paddr: memory.put("memory map", map, room),
    memmap_entries: map.length / mapEntry.size,
  }]);
  const rbx = BigInt(memory.put("hvm_start_info", info, room));
  return kernelEntry(entry, { rbx }, memory.writes);
}
