import { asm, boot, CapabilityError } from "@vmexit/vmexit";
import { IOCTLS } from "@vmexit/vmexit/abi";
import { type Libc, openHandles } from "@vmexit/vmexit/kvm";
import { msiMessage } from "@vmexit/vmexit/x86";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { injected } from "../machine/injected_libc.ts";

const VECTOR = 0x50;

const halting = asm`hlt`;

/** A libc whose kernel lacks every capability but those that a boot needs. */
const without = (capability: number): Libc =>
  injected((real) => ({
    ioctl: (fd, request, argument) =>
      request === IOCTLS.KVM_CHECK_EXTENSION.number && argument === capability
        ? 0
        : real.ioctl(fd, request, argument),
  }));

Deno.test("without interrupt controllers what needs them is refused", () => {
  using vm = boot(halting);
  assertThrows(() => vm.interrupts, TypeError, "was booted without them. Boot it with `irqchip");
  assertThrows(() => vm.localApic, TypeError, "Cannot read the local APIC");
});

Deno.test("controllers that cannot be are refused before the kernel is asked", () => {
  const never = injected(() => ({
    open: () => {
      throw new Error("the kernel was asked");
    },
  }));
  for (const irqchip of [false, "split"] as const) {
    assertThrows(
      () => boot(halting, { irqchip, pit: true, libc: never }),
      TypeError,
      `Cannot boot with a PIT and irqchip ${JSON.stringify(irqchip)}`,
    );
  }
  assertThrows(
    () => boot(halting, { irqchip: "whole" as "split", libc: never }),
    RangeError,
    'irqchip "whole": it is true, "split" or false',
  );
});

Deno.test("GSIs, routes and messages that do not exist are refused before the kernel is asked", () => {
  using vm = boot(halting, { irqchip: true });
  const { interrupts } = vm;
  const msi = msiMessage({ vector: VECTOR });
  const refused: [() => unknown, new (message: string) => Error, string][] = [
    [
      () => interrupts.raise(24),
      RangeError,
      "raise GSI 24: there is no such GSI. The machine has 0 to 23;",
    ],
    [() => interrupts.lower(-1), RangeError, "lower GSI -1: there is no such GSI"],
    [() => interrupts.pulse(1.5), RangeError, "there is no such GSI"],
    [() => interrupts.eventfd(24), RangeError, "make an eventfd of GSI 24"],
    [
      () => interrupts.route([{ gsi: 4096, msi }]),
      RangeError,
      "GSI 4096: there are GSIs 0 to 4095",
    ],
    [
      () => interrupts.route([{ gsi: 1, ioapic: 24 }]),
      RangeError,
      "pin 24: there are pins 0 to 23",
    ],
    [() => interrupts.route([{ gsi: 1, pic: 16 }]), RangeError, "line 16: there are lines 0 to 15"],
    [
      () => interrupts.route([{ gsi: 1 } as never]),
      TypeError,
      "one of pic, ioapic and msi, and has none",
    ],
    [() => interrupts.route([{ gsi: 1, pic: 1, ioapic: 1 }]), TypeError, "has pic and ioapic"],
    [() => interrupts.route([{ gsi: 1, msi }, { gsi: 1, msi }]), RangeError, "route GSI 1 twice"],
    [
      () => interrupts.route([{ gsi: 1, pic: 1 }, { gsi: 1, pic: 2 }]),
      RangeError,
      "route GSI 1 twice",
    ],
    [
      () => interrupts.route([{ gsi: 1, pic: 1 }, { gsi: 1, msi }]),
      RangeError,
      "route GSI 1 twice",
    ],
    [
      () => interrupts.route([{ gsi: 1, msi }, { gsi: 1, pic: 1 }]),
      RangeError,
      "route GSI 1 twice",
    ],
    [
      () => interrupts.route(Array.from({ length: 4097 }, (_, gsi) => ({ gsi, msi }))),
      RangeError,
      "Cannot route 4097 interrupts: KVM takes 4096 routes",
    ],
    [
      () => interrupts.route([{ gsi: 1, msi: { ...msi, data: 3 } }]),
      RangeError,
      "vector 0x3: APICs take",
    ],
    [
      () => interrupts.msi({ ...msi, data: 0xf }),
      RangeError,
      "vector 0xf: APICs take vectors from 16 to",
    ],
    [() => interrupts.msi({ ...msi, address: 0xfed00000 }), RangeError, "an MSI to 0xfed00000"],
    [
      () => interrupts.msi({ ...msi, data: 2 ** 32 }),
      RangeError,
      "is not a whole number of 32 bits",
    ],
  ];
  for (const [refuse, kind, message] of refused) assertThrows(refuse, kind, message);
  interrupts.raise(23);
});

Deno.test("a split machine has its local APIC in the kernel, and neither PICs nor IOAPIC", () => {
  using vm = boot(
    asm`
      bits 32
      mov dword [0xfee000f0], 0x1ff
      sti
      hlt
      cli
      hlt
    on_interrupt:
      inc byte [taken]
      mov dword [0xfee000b0], 0
      iret
    taken: db 0
    `,
    { irqchip: "split", gates: { [VECTOR]: "on_interrupt" } },
  );
  const { interrupts } = vm;
  assertThrows(() => interrupts.pic, TypeError, "Cannot read the PICs");
  assertThrows(() => interrupts.ioapic, TypeError, "Cannot read the IOAPIC");
  assertThrows(
    () => interrupts.raise(4),
    RangeError,
    "The machine has none; vm.interrupts.route()",
  );
  assertThrows(() => interrupts.route([{ gsi: 4, ioapic: 4 }]), TypeError, "route GSI 4 to a pin");
  interrupts.route([{ gsi: 4, msi: msiMessage({ vector: VECTOR, trigger: "level" }) }]);
  assertThrows(() => interrupts.eventfd(4, { resample: true }), TypeError, "Cannot resample GSI 4");
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  const ended: number[] = [];
  vm.on("IOAPIC_EOI", ({ vector }) => void ended.push(vector));
  interrupts.raise(4);
  vm.run();
  assertEquals([vm.memory.u8("taken"), ended], [1, [VECTOR]]);
});

Deno.test("what the kernel lacks is named", () => {
  const lacking = (capability: number, use: (vm: ReturnType<typeof boot>) => unknown) => {
    using vm = boot(halting, { irqchip: true, libc: without(capability) });
    return assertThrows(() => use(vm), CapabilityError).capability;
  };
  const write = () => {};
  assertEquals(lacking(25, (vm) => vm.interrupts.route([])), "KVM_CAP_IRQ_ROUTING");
  assertEquals(
    lacking(77, (vm) => vm.interrupts.msi(msiMessage({ vector: 99 }))),
    "KVM_CAP_SIGNAL_MSI",
  );
  assertEquals(lacking(32, (vm) => vm.interrupts.eventfd(4)), "KVM_CAP_IRQFD");
  assertEquals(
    lacking(82, (vm) => vm.interrupts.eventfd(4, { resample: true })),
    "KVM_CAP_IRQFD_RESAMPLE",
  );
  assertEquals(lacking(36, (vm) => vm.ports.notify(9)), "KVM_CAP_IOEVENTFD");
  assertEquals(lacking(122, (vm) => vm.ports.notify(9)), "KVM_CAP_IOEVENTFD_ANY_LENGTH");
  assertEquals(
    lacking(15, (vm) => vm.mmio.coalesce(0xe0000000, { write })),
    "KVM_CAP_COALESCED_MMIO",
  );
  assertEquals(lacking(162, (vm) => vm.ports.coalesce(9, { write })), "KVM_CAP_COALESCED_PIO");
  for (
    const [capability, options] of [[121, { irqchip: "split" }], [33, {
      irqchip: true,
      pit: true,
    }]] as const
  ) {
    assertThrows(() => boot(halting, { ...options, libc: without(capability) }), CapabilityError);
  }
});

Deno.test("whatever is handed out is closed once, by its holder or with the machine", () => {
  const before = openHandles();
  const vm = boot(halting, { irqchip: true });
  const booted = openHandles();
  const event = vm.interrupts.eventfd(4);
  const resampled = vm.interrupts.eventfd(16, { resample: true });
  const doorbell = vm.ports.notify(0x50);
  const zone = vm.mmio.coalesce(0xe0000000, { write: () => {} });
  assertEquals(openHandles().fds, booted.fds + 4);
  event[Symbol.dispose]();
  event[Symbol.dispose]();
  assertEquals(openHandles().fds, booted.fds + 3);
  assertThrows(() => event.signal(), TypeError, "Cannot use the eventfd of GSI 4: it is disposed");
  assertThrows(() => event.resampled, TypeError, "made without { resample: true }");
  using again = vm.interrupts.eventfd(4);
  vm[Symbol.dispose]();
  assertEquals(openHandles(), before);
  for (const late of [resampled, doorbell, zone, again]) late[Symbol.dispose]();
  assertThrows(() => resampled.resampled, TypeError, "is disposed");
  assertThrows(() => doorbell.count, TypeError, "is disposed");
  assertEquals(openHandles(), before);
});

Deno.test("an eventfd that the kernel refuses leaves nothing open", () => {
  let failing = "";
  const names = new Map<number, string>(
    Object.values(IOCTLS).map(({ number, name }) => [number, name]),
  );
  const failingLibc = injected((real) => ({
    errno: () => failing === "" ? real.errno() : ERRNO.ENOMEM,
    eventfd: (...args) => failing === "eventfd" ? -1 : real.eventfd(...args),
    ioctlBuffer: (fd, request, bytes) =>
      names.get(request) === failing ? -1 : real.ioctlBuffer(fd, request, bytes),
  }));
  using vm = boot(halting, { irqchip: true, libc: failingLibc });
  const before = openHandles();
  for (
    const [call, use] of [
      ["eventfd", () => vm.interrupts.eventfd(4)],
      ["eventfd", () => vm.ports.notify(0x50)],
      ["KVM_IRQFD", () => vm.interrupts.eventfd(4, { resample: true })],
      ["KVM_IOEVENTFD", () => vm.ports.notify(0x50)],
      [
        "KVM_REGISTER_COALESCED_MMIO",
        () => vm.mmio.coalesce(0xe0000000, { write: () => {} }),
      ],
    ] as const
  ) {
    failing = call;
    assertStringIncludes(assertThrows(use, Error).message, call);
    failing = "";
    assertEquals(openHandles(), before, call);
  }
  vm.ports.notify(0x50);
  vm.mmio.coalesce(0xe0000000, { write: () => {} });
});

Deno.test("a run can only end by itself, or when the guest is halted", () => {
  using vm = boot(halting);
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  assertThrows(() => vm.run({ until: "idle" as "halted" }), RangeError, 'machine until "idle"');
});

Deno.test("handlers where a device in the kernel listens are refused: they would never be called", () => {
  const handler = { write: () => {}, read: () => 0 };
  using plain = boot(halting);
  using split = boot(halting, { irqchip: "split" });
  using whole = boot(halting, { irqchip: true, pit: true });
  for (const port of [0x20, 0xa1, 0x4d0, 0x43, 0x61]) {
    plain.ports.on(port, handler);
    split.ports.on(port, handler);
    assertThrows(() => whole.ports.on(port, handler), RangeError, "in the kernel has 0x");
    assertThrows(() => whole.ports.coalesce(port, handler), RangeError, "in the kernel has 0x");
    assertThrows(() => whole.ports.notify(port), RangeError, "in the kernel has 0x");
  }
  split.mmio.on(0xfec00000, handler);
  assertThrows(() => whole.mmio.on(0xfec00000, handler), RangeError, "the IOAPIC in the kernel");
  assertThrows(
    () => split.mmio.on(0xfee00ffc, handler),
    RangeError,
    "the local APIC in the kernel",
  );
  whole.mmio.on(0xfee01000, handler);
});

Deno.test("the kernel's timer counts with its counter 2, whose gate and end are at port 0x61", () => {
  using vm = boot(
    asm`
      mov al, 0xb0              ; counter 2, both bytes, mode 0
      out 0x43, al
      in al, 0x61
      or al, 1                  ; the gate
      and al, 0xfd              ; no speaker
      out 0x61, al
      mov al, 0x20
      out 0x42, al
      mov al, 0
      out 0x42, al
    .wait:
      in al, 0x61
      test al, 0x20             ; OUT of counter 2
      jz .wait
      hlt
    `,
    { irqchip: true, pit: true },
  );
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.log.total, 1);
  assertEquals(vm.registers.al & 0x21, 0x21);
});
