import { asm, boot, expect } from "@vmexit/vmexit";
import {
  type Device,
  PciBus,
  PciFunction,
  type PciFunctionInit,
  Pic,
  piix,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import {
  in16,
  in32,
  in8,
  out16,
  out32,
  out8,
  read16,
  read32,
  read8,
  write32,
} from "../accesses.ts";
import {
  ADDRESS,
  BAR,
  bytesBar,
  COMMAND,
  DATA,
  IDENTITY,
  lines,
  PciMachine,
  read,
  select,
  Toy,
  write,
} from "./toy.ts";

/** Finds a function by its ID on bus 0, switches it on, and adds two numbers by its ports; then waits for its interrupt. */
const DRIVER = asm`
  bits 32
  mov ebx, 0x80000000
scan:
  mov edx, 0xcf8
  mov eax, ebx
  out dx, eax
  mov edx, 0xcfc
  in eax, dx
  cmp eax, 0x56781234
  je found
  add ebx, 0x800
  cmp ebx, 0x80010000
  jb scan
  xor eax, eax
  hlt
found:
  lea eax, [ebx + 0x3c]     ; its interrupt line, and pin
  call select
  in ax, dx
  mov ebp, eax
  lea eax, [ebx + 0x10]
  call select
  in eax, dx
  and eax, ~3
  mov edi, eax
  lea eax, [ebx + 4]        ; bus mastering
  call select
  in ax, dx
  or ax, 4
  out dx, ax
  mov edx, edi
  mov eax, 40
  out dx, eax
  add edx, 4
  mov eax, 2
  out dx, eax
  sub edx, 4
  in eax, dx
  hlt
select:
  mov edx, 0xcf8
  and eax, ~3
  out dx, eax
  mov edx, 0xcfc
  ret
`;

Deno.test("a driver finds a function by a scan of the bus, and uses it", () => {
  let sum = 0;
  const adder = new Toy({
    interruptPin: "A",
    bars: [{
      type: "io",
      size: 8,
      read: () => sum,
      write: (_offset, value) => void (sum += Number(value)),
    }],
  });
  using vm = boot(DRIVER, { devices: [new PciBus([undefined, undefined, adder])] });
  vm.run();
  // Device 3, INTA#: PIRQC#, which leads to IRQ 11.
  expect(vm).toHaveRegisters({ eax: 42, bp: 0x010b, edi: 0xc000, ebx: 0x8000_1800 });
  assertEquals(vm.log.records().at(-2)?.answeredBy, "toy BAR0");
  using none = boot(DRIVER, { devices: [new PciBus([undefined])] });
  none.run();
  expect(none).toHaveRegisters({ eax: 0, ebx: 0x8001_0000 });
});

Deno.test("the header, and what there is not, by accesses of every width", () => {
  using pci = new PciMachine([
    new Toy({ revisionId: 3, subsystemVendorId: 0xabcd, subsystemId: 0xef01 }),
  ]);
  assertEquals(pci.run(...read(0, 0), ...read(0, 8))[1], 0x1237_8086);
  assertEquals(pci.last(...read(1, 0)), 0x5678_1234);
  assertEquals(pci.last(...read(1, 8)), 0xff01_0203);
  assertEquals(pci.last(...read(1, 0x2c)), 0xef01_abcd);
  assertEquals(pci.last(select(1, 0), in16(DATA + 2)) & 0xffff, 0x5678);
  assertEquals(pci.last(select(1, 0), in8(DATA + 1)) & 0xff, 0x12);
  // An access ends with its doubleword: what lies behind is nobody's.
  assertEquals(pci.last(select(1, 0), in16(DATA + 3)) & 0xffff, 0xff56);
  assertEquals(pci.last(...read(2, 0)), 0xffff_ffff);
  assertEquals(pci.last(out32(ADDRESS, 0x8000_0900), in32(DATA)), 0xffff_ffff);
  assertEquals(pci.last(out32(ADDRESS, 0x8001_0800), in32(DATA)), 0xffff_ffff);
  // Without the enable bit it is a port of nobody's.
  assertEquals(pci.last(out32(ADDRESS, 0x0000_0800), in32(DATA)), 0xffff_ffff);
  // Reserved bits are zero, and bytes and words do not reach the address register.
  assertEquals(pci.last(out32(ADDRESS, 0xffff_ffff), in32(ADDRESS)), 0x80ff_fffc);
  assertEquals(pci.last(out16(ADDRESS, 0), out8(ADDRESS, 0), in32(ADDRESS)), 0x80ff_fffc);
  assertEquals(pci.last(in8(ADDRESS)) & 0xff, 0xff);
  // What the header says cannot be written.
  pci.run(...write(1, 0, 0), ...write(1, 8, 0), ...write(1, 0x2c, 0));
  assertEquals(pci.last(...read(1, 0)), 0x5678_1234);
  assertEquals(pci.last(...read(1, 0x2c)), 0xef01_abcd);
  assertEquals(pci.last(...write(1, COMMAND, 0xffff_ffff), in32(DATA)), 0x0000_0547);
});

Deno.test("the reset control register beside CONFIG_ADDRESS is somebody else's", () => {
  const seen: number[] = [];
  const device: Device = {
    name: "reset control",
    attach: ({ ports }) => void ports.on(0xcf9, { write: (_port, value) => void seen.push(value) }),
  };
  using pci = new PciMachine([], {}, [device]);
  pci.run(out8(0xcf9, 2));
  assertEquals(seen, [2]);
});

Deno.test("BARs are sized, moved and switched off", () => {
  const io = bytesBar("io", 16);
  const small = bytesBar("memory32", 0x1000);
  const wide = { ...bytesBar("memory64", 0x10000), prefetchable: true };
  const toy = new Toy({ bars: [io, small, wide] });
  using pci = new PciMachine([toy], { resources: "unassigned" });
  for (
    const [index, bits, size] of [[0, 1, 0xffff_fff1], [1, 0, 0xffff_f000], [2, 0xc, 0xffff_000c]]
  ) {
    assertEquals(pci.last(...read(1, BAR(index))), bits);
    assertEquals(pci.last(...write(1, BAR(index), 0xffff_ffff), in32(DATA)), size);
  }
  assertEquals(pci.last(...write(1, BAR(3), 0xffff_ffff), in32(DATA)), 0xffff_ffff);
  assertEquals(pci.last(...write(1, BAR(4), 0xffff_ffff), in32(DATA)), 0);
  pci.run(
    ...write(1, BAR(0), 0x1000),
    ...write(1, BAR(1), 0xd000_0000),
    ...write(1, BAR(2), 0xd100_0000),
    ...write(1, BAR(3), 0),
  );
  io.bytes.setUint32(4, 0x1111_2222, true);
  small.bytes.setUint32(8, 0x3333_4444, true);
  wide.bytes.setUint32(12, 0x5555_6666, true);
  const accesses = [in32(0x1004), read32(0xd000_0008), read32(0xd100_000c)];
  assertEquals(pci.run(...accesses), [0xffff_ffff, 0xffff_ffff, 0xffff_ffff]);
  pci.run(...write(1, COMMAND, 1));
  assertEquals(pci.run(...accesses), [0x1111_2222, 0xffff_ffff, 0xffff_ffff]);
  pci.run(...write(1, COMMAND, 2));
  assertEquals(pci.run(...accesses), [0xffff_ffff, 0x3333_4444, 0x5555_6666]);
  pci.run(...write(1, BAR(1), 0xd200_0abc), write32(0xd200_0ffc, 7));
  assertEquals(small.bytes.getUint32(0xffc, true), 7);
  assertEquals(pci.run(read32(0xd000_0008), read16(0xd200_0008)), [0xffff_ffff, 0x4444]);
});

Deno.test("a BAR that meets memory or another's registers answers when there is room", () => {
  const [first, second] = [bytesBar("memory32", 0x1000), bytesBar("memory32", 0x1000)];
  first.bytes.setUint8(0, 1);
  second.bytes.setUint8(0, 2);
  using pci = new PciMachine([new Toy({ bars: [first] }), new Toy({ bars: [second] })]);
  const low = (address: number) => pci.last(read8(address)) & 0xff;
  assertEquals([low(0xe000_0000), low(0xe000_1000)], [1, 2]);
  pci.run(...write(2, BAR(0), 0xe000_0000));
  assertEquals([low(0xe000_0000), low(0xe000_1000)], [1, 0xff]);
  pci.run(...write(1, BAR(0), 0x1000)); // RAM lies there
  assertEquals([low(0xe000_0000), low(0xe000_1000)], [2, 0xff]);
  pci.run(...write(1, BAR(0), 0xe000_1000));
  assertEquals([low(0xe000_0000), low(0xe000_1000)], [2, 1]);
  // Behind all addresses, while it is sized.
  pci.run(...write(1, BAR(0), 0xffff_ffff), ...write(1, BAR(0), 0xe000_1000));
  assertEquals(low(0xe000_1000), 1);
});

Deno.test("firmware's resources, and the state after RST#", () => {
  const toy = () =>
    new Toy({
      interruptPin: "B",
      bars: [bytesBar("io", 4), bytesBar("io", 64), bytesBar("memory64", 0x4000)],
    });
  using pci = new PciMachine([toy()]);
  const state = () => [0, 1, 2, 3].map((index) => pci.last(...read(1, BAR(index))));
  const assigned = [0xc041, 0xc001, 0xe000_0004, 0];
  assertEquals(state(), assigned);
  // Device 1, INTB#: PIRQB#.
  assertEquals(pci.last(...read(1, 0x3c)), 0x0000_020a);
  pci.run(...write(1, BAR(0), 0x2000), ...write(1, COMMAND, 0x407));
  pci.bus.reset();
  assertEquals(state(), assigned);
  assertEquals(pci.last(...read(1, COMMAND)), 3);
  using bare = new PciMachine([toy()], { resources: "unassigned", hostBridge: null });
  assertEquals(bare.last(...read(0, 0)), 0xffff_ffff);
  assertEquals(
    bare.run(...read(1, BAR(0)), ...read(1, COMMAND), ...read(1, 0x3c)).filter((
      _,
      at,
    ) => at % 2 === 1),
    [1, 0, 0x200],
  );
});

Deno.test("devices of several functions", () => {
  using pci = new PciMachine([[new Toy(), new Toy({ deviceId: 0x9999 })], new Toy()]);
  assertEquals(pci.last(select(1, 0x0c), in8(DATA + 2)) & 0xff, 0x80);
  assertEquals(pci.last(select(2, 0x0c), in8(DATA + 2)) & 0xff, 0);
  assertEquals(pci.last(out32(ADDRESS, 0x8000_0900), in32(DATA)), 0x9999_1234);
  assertEquals(pci.last(out32(ADDRESS, 0x8000_0a00), in32(DATA)), 0xffff_ffff);
});

Deno.test("ECAM shows the same space, and zeros behind it", () => {
  using pci = new PciMachine([new Toy()], { ecam: 0xb000_0000 });
  assertEquals(pci.last(read32(0xb000_8000)), 0x5678_1234);
  assertEquals(pci.last(read16(0xb000_8002)) & 0xffff, 0x5678);
  assertEquals(pci.last(read32(0xb000_8100)), 0);
  assertEquals(pci.last(read32(0xb000_80fe)), 0);
  assertEquals(pci.last(read32(0xb000_9100)), 0xffff_ffff);
  assertEquals(pci.last(read32(0xb010_8000)), 0xffff_ffff);
  pci.run(write32(0xb000_8004, 4));
  assertEquals(pci.last(...read(1, COMMAND)), 4);
});

Deno.test("pins lead to four lines, which functions share", () => {
  const controller = lines();
  const toys = Array.from({ length: 5 }, () => new Toy({ interruptPin: "A" }));
  using pci = new PciMachine(toys, { irqs: [3, 4, 5, 6] }, [controller]);
  const asserted = () => [...controller.asserted].sort();
  toys[0].pull(true);
  assertEquals(asserted(), [3]);
  toys[1].pull(true);
  toys[4].pull(true);
  assertEquals(asserted(), [3, 4]);
  toys[0].pull(false);
  assertEquals(asserted(), [3, 4]);
  // Its status register has it, whether its command register lets it out or not.
  assertEquals(pci.last(...write(5, COMMAND, 0x400), in32(DATA)), 0x0008_0400);
  assertEquals(asserted(), [4]);
  pci.run(...write(5, COMMAND, 0));
  assertEquals(asserted(), [3, 4]);
  pci.bus.reset();
  assertEquals(asserted(), []);
});

Deno.test("a function reaches memory as a bus master alone", () => {
  const toy = new Toy();
  using pci = new PciMachine([toy]);
  assertThrows(() => toy.dma.read(0x8000, 1), RangeError, "no bus master");
  assertThrows(() => toy.dma.write(0x8000, new Uint8Array(1)), RangeError, "no bus master");
  pci.run(...write(1, COMMAND, 4));
  assertEquals(toy.dma.read(0x8000, 1), new Uint8Array(1));
});

Deno.test("functions and buses that cannot be are refused", () => {
  const refused = (init: Partial<PciFunctionInit>, message: string) =>
    void assertThrows(() => new PciFunction({ ...IDENTITY, ...init }), RangeError, message);
  const bar = bytesBar("memory32", 0x1000);
  refused({ vendorId: 0x1_0000 }, "16 bits");
  refused({ classCode: 0x100_0000 }, "24 bits");
  refused({ revisionId: 1.5 }, "8 bits");
  refused({ bars: [{ ...bar, size: 24 }] }, "no power of two");
  refused({ bars: [{ ...bar, size: 8 }] }, "from 16 on");
  refused({ bars: [{ ...bar, type: "memory64" }, bar] }, "takes the next place");
  refused({ bars: Array(7).fill(bar) }, "there are 6");
  refused({ bars: [bar], msix: { vectors: 1, bar: 0 } }, "free place");
  refused({ msix: { vectors: 0, bar: 0 } }, "1 to 2048");
  refused({ msi: 3 }, "1, 2, 4");
  assertThrows(() => new PciBus(Array(32).fill(new Toy())), RangeError, "31 slots");
  assertThrows(() => new PciBus([Array(9).fill(new Toy())]), RangeError, "it has 8");
  assertThrows(() => new PciBus([], { irqs: [1] }), RangeError, "give 4");
  assertThrows(() => new Toy().dma.read(0, 1), TypeError, "on no bus");
});

/** Routes a PIRQ by the register of the south bridge in device 1, by a byte as firmware does. */
const route = (pirq: number, value: number) => [select(1, 0x60), out8(DATA + pirq, value)];

Deno.test("PIRQs lead where firmware has routed them, and what is asserted moves with them", () => {
  const controller = lines();
  // INTA# of devices 2 and 3: PIRQB# and PIRQC#.
  const toys = [new Toy({ interruptPin: "A" }), new Toy({ interruptPin: "A" })];
  using pci = new PciMachine([piix(), ...toys], { resources: "unassigned" }, [controller]);
  const asserted = () => [...controller.asserted].sort((a, b) => a - b);
  toys[0].pull(true);
  assertEquals([asserted(), pci.last(...read(1, 0x60)) >>> 0], [[], 0x8080_8080]);
  pci.run(...route(1, 5));
  assertEquals([asserted(), pci.last(...read(1, 0x60)) >>> 0], [[5], 0x8080_0580]);
  pci.run(...route(1, 9));
  assertEquals(asserted(), [9]);
  // Two PIRQs on one interrupt assert it together.
  pci.run(...route(2, 9));
  toys[1].pull(true);
  toys[0].pull(false);
  assertEquals(asserted(), [9]);
  pci.run(...route(2, 0x89));
  assertEquals(asserted(), []);
  // The timer's, the keyboard's and the like are none of PCI's.
  for (const irq of [0, 1, 2, 8, 13]) {
    pci.run(...route(2, irq));
    assertEquals(asserted(), []);
  }
  pci.run(...write(1, 0x60, 0x0b0b_0b0b));
  assertEquals(asserted(), [11]);
  const state = structuredClone(pci.bus.save());
  pci.bus.reset();
  assertEquals(asserted(), []);
  pci.bus.restore(state);
  assertEquals(asserted(), [11]);
});

Deno.test("where the board has assigned resources, it has routed PIRQs, too", () => {
  const controller = lines();
  const toy = new Toy({ interruptPin: "A" });
  using pci = new PciMachine([piix(), toy], { irqs: [3, 4, 5, 6] }, [controller]);
  toy.pull(true);
  assertEquals([...controller.asserted], [4]);
  assertEquals(pci.last(...read(1, 0x60)), 0x0605_0403);
  assertEquals(pci.last(...read(2, 0x3c)) & 0xff, 4);
  pci.bus.reset();
  assertEquals(pci.last(...read(1, 0x60)), 0x0605_0403);
  assertThrows(() => new PciBus([piix()], { irqs: [10, 10, 11, 16] }), RangeError, "to IRQ 16");
});

Deno.test("firmware routes a device's interrupt, and takes it", () => {
  const toy: Toy = new Toy({
    interruptPin: "A",
    bars: [{
      type: "io",
      size: 4,
      read: () => 0,
      write: (_offset, value) => toy.pull(value === 1),
    }],
  });
  using vm = boot(
    asm`
      bits 32
      %macro config 2             ; writes a register of the configuration space
        mov dx, 0xcf8
        mov eax, 0x80000000 + %1
        out dx, eax
        mov dx, 0xcfc + (%1 & 3)
        mov eax, %2
      %endmacro
      config 0x0860, 0x8080058a   ; PIRQB# to IRQ 5
      out dx, eax
      config 0x1010, 0xc000       ; BAR 0 of device 2
      out dx, eax
      config 0x1004, 1
      out dx, eax
      config 0x103c, 5            ; for drivers
      out dx, al
      mov dx, 0x4d0
      mov al, 0x20                ; a level
      out dx, al
      mov al, 0xdf
      out 0x21, al
      sti
      mov dx, 0xc000
      mov al, 1
      out dx, al
      mov ecx, 1000
    poll:
      cmp byte [0x8000], 0
      jne done
      loop poll
    done:
      cli
      hlt
    handler:
      inc byte [0x8000]
      mov dx, 0xc000
      xor al, al
      out dx, al
      mov al, 0x20
      out 0x20, al
      iret
    `,
    {
      gates: { 0x25: "handler" },
      devices: [
        new Pic({ vectors: [0x20, 0x28] }),
        new PciBus([piix(), toy], { resources: "unassigned" }),
      ],
    },
  );
  vm.run();
  expect(vm).toHaveMemory(0x8000, [1]);
});
