import { KvmError, requires } from "@vmexit/vmexit";
import { KVM_IOEVENTFD, KVM_IRQ_ROUTING, KVM_IRQCHIP, KVM_IRQFD_FLAG } from "@vmexit/vmexit/abi";
import { kvmLibc, type Vm } from "@vmexit/vmexit/kvm";
import { OwnedFd } from "../../lib/ffi/handles.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { levels } from "./levels.ts";

const irqchip = (vm: Vm) => vm.createIrqchip();
const EFD_NONBLOCK = 0x800;
const MSI_ADDRESS = 0xfee00000;
const VECTOR = 0x50;
const REQUEST_REGISTER = 0x200;
const SPURIOUS_VECTOR_REGISTER = 0xf0;
const ENABLED = 0x1ff;

function eventfd(): OwnedFd {
  return new OwnedFd(kvmLibc(), kvmLibc().eventfd(0, EFD_NONBLOCK), "an eventfd");
}

/** Whether a vector is requested in the local APIC's registers. */
function isRequested(regs: Uint8Array, vector: number): boolean {
  const at = REQUEST_REGISTER + Math.floor(vector / 32) * 0x10 + Math.floor((vector % 32) / 8);
  return (regs[at] & 1 << vector % 8) !== 0;
}

/** Levels with controllers whose local APIC takes interrupts. */
function withApic() {
  const on = levels({ before: irqchip });
  const regs = on.vcpu.apic.getLapic();
  new DataView(regs.buffer).setUint32(SPURIOUS_VECTOR_REGISTER, ENABLED, true);
  on.vcpu.apic.setLapic(regs);
  return on;
}

Deno.test("getIrqchip, setIrqchip: PIC and IOAPIC read, change, read back", () => {
  using on = levels({ before: irqchip });
  const { interrupts } = on.vm;
  const master = interrupts.getIrqchip(KVM_IRQCHIP.PIC_MASTER);
  interrupts.setIrqchip({
    chip_id: KVM_IRQCHIP.PIC_MASTER,
    chip: { pic: { ...master.chip.pic, imr: 0xfb } },
  });
  assertEquals(interrupts.getIrqchip(KVM_IRQCHIP.PIC_MASTER).chip.pic.imr, 0xfb);
  const { ioapic } = interrupts.getIrqchip(KVM_IRQCHIP.IOAPIC).chip;
  assertEquals(ioapic.redirtbl.length, 24);
  interrupts.setIrqchip({
    chip_id: KVM_IRQCHIP.IOAPIC,
    chip: { ioapic: { ...ioapic, ioregsel: 0x12 } },
  });
  assertEquals(interrupts.getIrqchip(KVM_IRQCHIP.IOAPIC).chip.ioapic.ioregsel, 0x12);

  // What was read is changed in place, and written as it is.
  const slave = interrupts.getIrqchip(KVM_IRQCHIP.PIC_SLAVE);
  slave.chip.pic.imr = 0x7f;
  interrupts.setIrqchip(slave);
  assertEquals(interrupts.getIrqchip(KVM_IRQCHIP.PIC_SLAVE), slave);
  const routed = interrupts.getIrqchip(KVM_IRQCHIP.IOAPIC);
  routed.chip.ioapic.redirtbl[3].fields.vector = 0x33;
  interrupts.setIrqchip(routed);
  assertEquals(interrupts.getIrqchip(KVM_IRQCHIP.IOAPIC), routed);
  assertThrows(() => interrupts.getIrqchip(9), KvmError, "KVM_GET_IRQCHIP failed with EINVAL");
  using plain = levels();
  assertThrows(
    () => plain.vm.interrupts.getIrqchip(0),
    KvmError,
    "KVM_GET_IRQCHIP failed with ENXIO",
  );
});

Deno.test("irqLine and irqLineStatus raise a line of the PIC", () => {
  using on = levels({ before: irqchip });
  const { interrupts } = on.vm;
  const irr = () => interrupts.getIrqchip(KVM_IRQCHIP.PIC_MASTER).chip.pic.irr;
  interrupts.irqLine(4, 1);
  assertEquals(irr() & 1 << 4, 1 << 4);
  interrupts.irqLine(4, 0);
  assertEquals(typeof interrupts.irqLineStatus(5, 1), "number");
  assertEquals(irr() & 1 << 5, 1 << 5);
  using plain = levels();
  assertThrows(() => plain.vm.interrupts.irqLine(4, 1), KvmError, "KVM_IRQ_LINE failed with ENXIO");
});

Deno.test("signalMsi: the message's vector is requested in the local APIC", () => {
  using on = withApic();
  assertEquals(on.vm.interrupts.signalMsi({ address_lo: MSI_ADDRESS, data: VECTOR }), 1);
  assert(isRequested(on.vcpu.apic.getLapic(), VECTOR));
});

Deno.test("setGsiRouting: a GSI becomes a message", () => {
  using on = withApic();
  const { interrupts } = on.vm;
  const msi = { address_lo: MSI_ADDRESS, data: VECTOR };
  interrupts.setGsiRouting([{ gsi: 30, type: KVM_IRQ_ROUTING.MSI, u: { msi } }]);
  interrupts.irqLine(30, 1);
  assert(isRequested(on.vcpu.apic.getLapic(), VECTOR));
  assertThrows(
    () => interrupts.setGsiRouting([{ gsi: 30, type: 99 }]),
    KvmError,
    "KVM_SET_GSI_ROUTING failed with EINVAL",
  );
});

Deno.test("irqfd: a write to an eventfd raises its GSI, until it is unbound", () => {
  using on = withApic();
  using event = eventfd();
  const { interrupts } = on.vm;
  interrupts.setGsiRouting([{
    gsi: 30,
    type: KVM_IRQ_ROUTING.MSI,
    u: { msi: { address_lo: MSI_ADDRESS, data: VECTOR } },
  }]);
  const binding = { fd: event.number, gsi: 30 };
  interrupts.irqfd(binding);
  assertThrows(() => interrupts.irqfd(binding), KvmError, "KVM_IRQFD failed with EBUSY");
  kvmLibc().write(event.number, new Uint8Array(new BigUint64Array([1n]).buffer));
  assert(isRequested(on.vcpu.apic.getLapic(), VECTOR));
  interrupts.irqfd({ ...binding, flags: KVM_IRQFD_FLAG.DEASSIGN });
});

Deno.test("ioeventfd: a write to its port counts, and makes no exit", () => {
  // out 0x10, al; hlt
  using on = levels({ code: [0xe6, 0x10, 0xf4] });
  using event = eventfd();
  const binding = { addr: 0x10, len: 1, fd: event.number, flags: KVM_IOEVENTFD.FLAG_PIO };
  on.vm.interrupts.ioeventfd(binding);
  on.vcpu.run();
  assertEquals(on.vcpu.kvmRun.exit().reason, "HLT");
  const count = new BigUint64Array(1);
  assertEquals(kvmLibc().read(event.number, new Uint8Array(count.buffer)), 8);
  assertEquals(count[0], 1n);
  const flags = KVM_IOEVENTFD.FLAG_PIO | KVM_IOEVENTFD.FLAG_DEASSIGN;
  on.vm.interrupts.ioeventfd({ ...binding, flags });
  assertThrows(
    () => on.vm.interrupts.ioeventfd({ ...binding, flags }),
    KvmError,
    "KVM_IOEVENTFD failed with ENOENT",
  );
});

Deno.test(
  requires({ hypervEventfd: true }, "hypervEventfd: a connection can be bound once, and unbound"),
  () => {
    using on = levels();
    using event = eventfd();
    const { interrupts } = on.vm;
    interrupts.hypervEventfd({ conn_id: 3, fd: event.number });
    assertThrows(
      () => interrupts.hypervEventfd({ conn_id: 3, fd: event.number }),
      KvmError,
      "KVM_HYPERV_EVENTFD failed with EEXIST",
    );
    const DEASSIGN = 1;
    interrupts.hypervEventfd({ conn_id: 3, fd: -1, flags: DEASSIGN });
  },
);

Deno.test("createPit2, getPit2, setPit2, reinjectControl: the timer can be had once, read and changed", () => {
  using on = levels({ before: irqchip });
  const { pit } = on.vm;
  assertThrows(() => pit.getPit2(), KvmError, "the VM has no timer");
  assertThrows(() => pit.reinjectControl(false), KvmError, "the VM has no timer");
  pit.createPit2();
  assertThrows(() => pit.createPit2(), KvmError, "the VM has a timer already");
  const before = pit.getPit2();
  const channels = before.channels.map((each, at) =>
    at === 2 ? { ...each, count: 0x1234, mode: 3 } : each
  );
  pit.setPit2({ ...before, channels });
  const { count, mode } = pit.getPit2().channels[2];
  assertEquals([count, mode], [0x1234, 3]);
  pit.reinjectControl(false);
});
