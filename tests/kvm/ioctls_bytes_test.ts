/**
 * The ioctls that the nested machine's kernel lacks: what they would give to one that has them, and what
 * they make of its answer.
 */

import {
  type IoctlName,
  IOCTLS,
  kvm_create_guest_memfd,
  kvm_irq_routing_xen_evtchn,
  kvm_memory_attributes,
  kvm_one_reg,
  kvm_pre_fault_memory,
  kvm_reg_list,
  kvm_userspace_memory_region2,
  kvm_xen_hvm_attr,
  kvm_xen_hvm_config,
  kvm_xen_vcpu_attr,
} from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";
import { type Levels, levels, PAGE } from "./levels.ts";

/**
 * Levels whose kernel says that it has all, and answers `name` by `answer`, which returns an errno where it
 * refuses.
 */
function answering(name: IoctlName, answer: (view: DataView<ArrayBuffer>) => number): Levels {
  let errno = 0;
  let has = false;
  const on = levels({
    libc: injected((real) => ({
      errno: () => errno === 0 ? real.errno() : errno,
      ioctl: (fd, request, argument) =>
        has && request === IOCTLS.KVM_CHECK_EXTENSION.number
          ? 1
          : real.ioctl(fd, request, argument),
      ioctlBuffer(fd, request, bytes) {
        if (request !== IOCTLS[name].number) return real.ioctlBuffer(fd, request, bytes);
        errno = answer(new DataView(bytes.buffer));
        return errno === 0 ? 0 : -1;
      },
    })),
  });
  has = true;
  return on;
}

const REGISTER = 0x2030_0002_0000_0010n;
const VALUE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

Deno.test("getRegList asks for the number first, then for so many", () => {
  const rooms: bigint[] = [];
  using on = answering("KVM_GET_REG_LIST", (view) => {
    const n = view.getBigUint64(0, true);
    rooms.push(n);
    kvm_reg_list.write(view, 0, n < 2n ? { n: 2 } : { n: 2, reg: [REGISTER, 7n] });
    return n < 2n ? ERRNO.E2BIG : 0;
  });
  assertEquals(on.vcpu.registers.getRegList(), [REGISTER, 7n]);
  assertEquals(rooms, [0n, 2n]);
});

Deno.test("getOneReg and setOneReg point to a value of the size that the id says", () => {
  using reading = answering("KVM_GET_ONE_REG", (view) => {
    const { id, addr } = kvm_one_reg.read(view);
    assertEquals(id, REGISTER);
    new Uint8Array(kvmLibc().memory(addr, VALUE.length)).set(VALUE);
    return 0;
  });
  assertEquals(reading.vcpu.registers.getOneReg(REGISTER), VALUE);
  using writing = answering("KVM_SET_ONE_REG", (view) => {
    const { addr } = kvm_one_reg.read(view);
    assertEquals(new Uint8Array(kvmLibc().memory(addr, VALUE.length)), VALUE);
    return 0;
  });
  writing.vcpu.registers.setOneReg(REGISTER, VALUE);
  const short = VALUE.slice(1);
  assertThrows(
    () => writing.vcpu.registers.setOneReg(REGISTER, short),
    RangeError,
    "from 7 bytes: its id says 8",
  );
  const huge = 0x20f0_0002_0000_0010n;
  assertThrows(
    () => writing.vcpu.registers.getOneReg(huge),
    RangeError,
    "the size in it is 2^15 bytes",
  );
});

Deno.test("preFaultMemory gives what is left of the range", () => {
  using on = answering("KVM_PRE_FAULT_MEMORY", (view) => {
    const { gpa, size } = kvm_pre_fault_memory.read(view);
    assertEquals([gpa, size], [0x1000n, 0x3000n]);
    kvm_pre_fault_memory.write(view, 0, { gpa: 0x3000, size: 0x1000 });
    return 0;
  });
  assertEquals(on.vcpu.preFaultMemory(0x1000, 0x3000), 0x1000);
});

Deno.test("setUserMemoryRegion2 gives the slot with its file, and keeps its pages", () => {
  using on = answering("KVM_SET_USER_MEMORY_REGION2", (view) => {
    const region = kvm_userspace_memory_region2.read(view);
    assertEquals([region.slot, region.guest_phys_addr, region.flags], [5, 0x100000n, 4]);
    assertEquals(region.memory_size, BigInt(on.pages.bytes.length));
    assertEquals(region.userspace_addr, on.pages.address);
    return 0;
  });
  const region = { slot: 5, gpa: 0x100000, flags: 4, pages: on.pages };
  on.vm.memory.setUserMemoryRegion2(region);
  assertEquals(on.vcpu.memory.get(5), on.pages);
  const message =
    "Cannot set memory slot 5: its address 0x800 or its size 65536 is not a multiple of 4096";
  assertThrows(
    () => on.vm.memory.setUserMemoryRegion2({ ...region, gpa: 0x800 }),
    RangeError,
    message,
  );
});

Deno.test("setMemoryAttributes and createGuestMemfd give their structures", () => {
  using attributes = answering("KVM_SET_MEMORY_ATTRIBUTES", (view) => {
    const { address, size, attributes } = kvm_memory_attributes.read(view);
    assertEquals([address, size, attributes], [0x2000n, 0x1000n, 8n]);
    return 0;
  });
  attributes.vm.memory.setMemoryAttributes({ address: 0x2000, size: PAGE, attributes: 8n });
  using memfd = answering("KVM_CREATE_GUEST_MEMFD", (view) => {
    assertEquals(kvm_create_guest_memfd.read(view).size, 0x4000n);
    return ERRNO.EINVAL;
  });
  assertThrows(
    () => memfd.vm.memory.createGuestMemfd(4 * PAGE),
    Error,
    "KVM_CREATE_GUEST_MEMFD failed with EINVAL",
  );
});

Deno.test("the calls for Xen give and read the attribute that they name", () => {
  using config = answering("KVM_XEN_HVM_CONFIG", (view) => {
    assertEquals(kvm_xen_hvm_config.read(view).msr, 0x40000000);
    return 0;
  });
  config.vm.xen.xenHvmConfig({ flags: 2, msr: 0x40000000 });
  using getting = answering("KVM_XEN_HVM_GET_ATTR", (view) => {
    assertEquals(kvm_xen_hvm_attr.read(view).type, 2);
    kvm_xen_hvm_attr.write(view, 0, { u: { vector: 0x31 } });
    return 0;
  });
  assertEquals(getting.vm.xen.xenHvmGetAttr(2).vector, 0x31);
  using setting = answering("KVM_XEN_HVM_SET_ATTR", (view) => {
    assertEquals(kvm_xen_hvm_attr.read(view).u.long_mode, 1);
    return 0;
  });
  setting.vm.xen.xenHvmSetAttr(0, { long_mode: 1 });
  using sending = answering("KVM_XEN_HVM_EVTCHN_SEND", (view) => {
    assertEquals(kvm_irq_routing_xen_evtchn.read(view), { port: 3, vcpu: 0, priority: 0xffffffff });
    return 0;
  });
  sending.vm.xen.xenHvmEvtchnSend({ port: 3, priority: 0xffffffff });
  using getVcpu = answering("KVM_XEN_VCPU_GET_ATTR", (view) => {
    kvm_xen_vcpu_attr.write(view, 0, { u: { vcpu_id: 9 } });
    return 0;
  });
  assertEquals(getVcpu.vcpu.xen.xenVcpuGetAttr(6).vcpu_id, 9);
  using setVcpu = answering("KVM_XEN_VCPU_SET_ATTR", (view) => {
    assertEquals(kvm_xen_vcpu_attr.read(view).u.vcpu_id, 4);
    return 0;
  });
  setVcpu.vcpu.xen.xenVcpuSetAttr(6, { vcpu_id: 4 });
});
