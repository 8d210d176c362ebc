import { asm, boot, expect } from "@vmexit/vmexit";
import {
  Disk,
  PciBus,
  VirtioBlk,
  VirtioMmio,
  VirtioPci,
  type VirtioPciVersion,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Descriptor, INDIRECT, WRITE } from "./driver_queue.ts";
import { TRANSPORTS, VirtioDriver } from "./virtio_driver.ts";

/** A disk whose sectors hold their own number in each byte. */
function numbered(sectors: number): Disk {
  return new Disk(Uint8Array.from({ length: sectors * 512 }, (_, index) => index / 512));
}

const HEADER = 0x30_0000;
const DATA = 0x30_1000;
const STATUS = 0x30_0800;
const header: Descriptor = { address: HEADER, length: 16 };
const status: Descriptor = { address: STATUS, length: 1, flags: WRITE };

/** Makes a request, and gives its status. */
function request(
  driver: VirtioDriver,
  type: number,
  sector: number | bigint,
  data: readonly Descriptor[],
): number {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  driver.vm.memory.write(HEADER, new Uint8Array(view.buffer));
  driver.vm.memory.setU8(STATUS, 0xee);
  const before = driver.queues[0].usedIndex;
  driver.queues[0].add([header, ...data, status]);
  driver.notify(0);
  assertEquals(driver.queues[0].usedIndex, before + 1);
  return driver.vm.memory.u8(STATUS);
}

for (const transport of TRANSPORTS) {
  Deno.test(`virtio-blk by ${transport}: reads, writes, flushes, and what it refuses`, () => {
    const disk = numbered(8);
    using driver = new VirtioDriver(new VirtioBlk(disk, { id: "disk 0" }), transport);
    driver.start();
    const into = (length: number) => [{ address: DATA, length, flags: WRITE }];
    assertEquals(request(driver, 0, 3, into(1024)), 0);
    assertEquals(driver.queues[0].used(0), [0, 1025]);
    expect(driver.vm).toHaveMemory(DATA + 510, [3, 3, 4, 4]);
    assertEquals(driver.asserted.size, 1);
    assertEquals([driver.interrupts, driver.asserted.size, driver.interrupts], [1, 0, 0]);
    driver.vm.memory.write(DATA, new Uint8Array(512).fill(0xab));
    assertEquals(request(driver, 1, 5, [{ address: DATA, length: 512 }]), 0);
    assertEquals([disk.written, disk.bytes[5 * 512]], [[5], 0xab]);
    assertEquals(request(driver, 4, 0, []), 0);
    assertEquals(request(driver, 8, 0, into(20)), 0);
    assertEquals(driver.vm.memory.string(DATA), "disk 0");
    // Behind its end, not whole sectors, a bad one, and requests that there are not.
    assertEquals(request(driver, 0, 7, into(1024)), 1);
    assertEquals(request(driver, 0, 2n ** 64n - 1n, into(512)), 1);
    assertEquals(request(driver, 1, 0, [{ address: DATA, length: 511 }]), 1);
    disk.badSectors.add(2);
    assertEquals([request(driver, 0, 2, into(512)), request(driver, 0, 1, into(512))], [1, 0]);
    assertEquals(request(driver, 11, 0, [{ address: DATA, length: 16 }]), 2);
    assertEquals(driver.device.failure, undefined);
  });

  Deno.test(`virtio-blk by ${transport}: its features and configuration`, () => {
    using driver = new VirtioDriver(
      new VirtioBlk(new Disk(3 * 16 * 63 * 512, { readonly: true })),
      transport,
    );
    const features = driver.features;
    assertEquals(features & 0xffff_ffffn, 0x3000_0274n);
    assertEquals(features >> 32n, driver.isLegacy ? 0n : 1n);
    assertEquals([driver.maximumOf(0), driver.maximumOf(1), driver.maximumOf(0xffff)], [128, 0, 0]);
    assertEquals(driver.configuration(0, 4), 3 * 16 * 63);
    assertEquals([driver.configuration(16, 2), driver.configuration(18, 1)], [3, 16]);
    assertEquals([driver.configuration(20, 4), driver.configuration(40, 2)], [512, 0]);
    driver.start(1n << 5n);
    assertEquals(request(driver, 1, 0, [{ address: DATA, length: 512 }]), 1);
  });

  Deno.test(`virtio-blk by ${transport}: hostile queues`, () => {
    using driver = new VirtioDriver(new VirtioBlk(numbered(8)), transport);
    const [queue] = driver.queues;
    const fails = (message: string, act: () => void, features = 0n) => {
      queue.index = 0;
      driver.start(features);
      act();
      driver.notify(0);
      assertStringIncludes(driver.device.failure ?? "no failure", message);
      // A legacy device has no way to say so.
      assertEquals(driver.status, driver.isLegacy ? 7 : 0x4f);
      assertEquals(driver.interrupts, driver.isLegacy ? 0 : 2);
      // Nothing is done any more, until a reset.
      const used = queue.usedIndex;
      queue.add([header, status]);
      driver.notify(0);
      assertEquals(queue.usedIndex, used);
      driver.status = 0;
      assertEquals([driver.status, driver.device.failure], [0, undefined]);
      driver.vm.memory.write(Number(queue.layout.used), new Uint8Array(4));
    };
    fails("longer than the queue", () => {
      queue.describe(0, { ...header, flags: 1, next: 0 });
      queue.makeAvailable(0);
    });
    fails("no memory is at", () => {
      queue.add([{ address: 0x4000_0000, length: 16 }, status]);
    });
    fails("no memory is at", () => {
      driver.vm.memory.write(HEADER, new Uint8Array(16));
      queue.add([header, { address: 0x3f_fff0, length: 512, flags: WRITE }, status]);
    });
    fails("more than 4 GiB", () => {
      queue.add([
        header,
        { address: DATA, length: 0xffff_ffff, flags: WRITE },
        { address: DATA, length: 0xffff_ffff, flags: WRITE },
      ]);
    });
    fails("a header of 16 bytes and a status", () => queue.add([header]));
    fails("a header of 16 bytes and a status", () => queue.add([status]));
    fails("descriptor 4660 is none", () => queue.makeAvailable(0x1234));
    fails("was not negotiated", () => {
      queue.add([{ address: DATA, length: 16, flags: INDIRECT }]);
    });
    fails("beyond 0", () => queue.index = 0x1000);
    // 4 GiB that are no more than the disk lacks: an error of the request, and nothing worse.
    queue.index = 0;
    driver.start();
    const length = 0xffff_fe00;
    assertEquals(request(driver, 0, 0, [{ address: DATA, length, flags: WRITE }]), 1);
    assertEquals(request(driver, 1, 0, [{ address: DATA, length }]), 1);
  });

  Deno.test(`virtio-blk by ${transport}: reset, save and restore`, () => {
    const disk = numbered(8);
    using driver = new VirtioDriver(new VirtioBlk(disk), transport);
    driver.start();
    const read = (sector: number) => {
      const answer = request(driver, 0, sector, [{ address: DATA, length: 512, flags: WRITE }]);
      return [answer, driver.vm.memory.u8(DATA)];
    };
    assertEquals(read(3), [0, 3]);
    const state = structuredClone(driver.board.save!());
    const status = driver.status;
    driver.board.reset!();
    assertEquals([driver.status, driver.asserted.size], [0, 0]);
    driver.board.restore!(state);
    assertEquals([driver.status, driver.asserted.size], [status, 1]);
    assertEquals(read(4), [0, 4]);
  });
}

Deno.test("a function that is no bus master reaches no memory", () => {
  using driver = new VirtioDriver(new VirtioBlk(numbered(8)), "modern PCI");
  driver.start();
  driver.setCommand(3);
  driver.queues[0].add([header, status]);
  driver.notify(0);
  assertStringIncludes(driver.device.failure ?? "no failure", "no memory");
});

/** A request for sector 1 to 0x24000, in a queue of 128 descriptors whose parts lie as legacy devices have them. */
const REQUEST = asm`
build_request:
  mov dword [0x23000], 0            ; VIRTIO_BLK_T_IN
  mov dword [0x23008], 1            ; sector 1
  mov dword [0x2300c], 0
  mov byte [0x23100], 0xee          ; the status
  mov dword [0x20000], 0x23000      ; descriptor 0: the header
  mov dword [0x20008], 16
  mov dword [0x2000c], 0x00010001
  mov dword [0x20010], 0x24000      ; 1: the sector, to be written
  mov dword [0x20018], 512
  mov dword [0x2001c], 0x00020003
  mov dword [0x20020], 0x23100      ; 2: the status, to be written
  mov dword [0x20028], 1
  mov dword [0x2002c], 2
  mov word [0x20804], 0             ; the available ring: descriptor 0
  inc word [0x20802]
  ret
`;

/** Finds a PCI function by its ID in EAX; EBX is its configuration address. */
const FIND = asm`
find:
  mov ecx, eax
  mov ebx, 0x80000000
.next:
  call read_config
  cmp eax, ecx
  je .found
  add ebx, 0x800
  cmp ebx, 0x80010000
  jb .next
  hlt
.found:
  ret
read_config:                        ; the register in EBX
  mov edx, 0xcf8
  mov eax, ebx
  and al, 0xfc
  out dx, eax
  mov edx, 0xcfc
  in eax, dx
  ret
`;

const LEGACY_DRIVER = asm`
  bits 32
  mov eax, 0x10011af4
  call find
  lea ebx, [ebx + 0x10]
  call read_config
  and eax, ~3
  mov esi, eax
  sub ebx, 0x0c
  call read_config
  or al, 7
  out dx, eax
  lea edx, [esi + 18]               ; reset, ACKNOWLEDGE, DRIVER
  mov al, 0
  out dx, al
  mov al, 1
  out dx, al
  mov al, 3
  out dx, al
  mov edx, esi                      ; no features
  in eax, dx
  xor eax, eax
  lea edx, [esi + 4]
  out dx, eax
  lea edx, [esi + 14]
  out dx, ax
  lea edx, [esi + 12]
  in ax, dx
  cmp ax, 128
  jne fail
  lea edx, [esi + 8]
  mov eax, 0x20
  out dx, eax
  lea edx, [esi + 18]
  mov al, 7
  out dx, al
  call build_request
  lea edx, [esi + 16]
  xor eax, eax
  out dx, ax
poll:
  cmp word [0x21002], 1
  jne poll
  lea edx, [esi + 19]
  in al, dx
  mov cl, [0x23100]
  hlt
fail:
  mov cl, 0xff
  hlt
  ${FIND}
  ${REQUEST}
`;

Deno.test("a legacy driver finds virtio-blk by a scan, and polls for sector 1", () => {
  const bus = new PciBus([
    undefined,
    new VirtioPci(new VirtioBlk(numbered(4)), { version: "legacy" }),
  ]);
  using vm = boot(LEGACY_DRIVER, { devices: [bus] });
  vm.run();
  expect(vm).toHaveRegisters({ al: 1, cl: 0 });
  expect(vm).toHaveMemory(0x24000, [1, 1]);
});

/** Finds the structures by the capabilities, and waits for the interrupt. */
const MODERN_DRIVER = asm`
  bits 32
  mov al, 0x11
  out 0x20, al
  out 0xa0, al
  mov al, 0x20
  out 0x21, al
  mov al, 0x28
  out 0xa1, al
  mov al, 4
  out 0x21, al
  mov al, 2
  out 0xa1, al
  mov al, 1
  out 0x21, al
  out 0xa1, al
  mov al, 0xfb
  out 0x21, al
  mov al, 0xfb                      ; IRQ 10
  out 0xa1, al
  mov eax, DEVICE_ID << 16 | 0x1af4
  call find
  mov ebp, ebx
  lea ebx, [ebp + 4]
  call read_config
  or al, 7
  out dx, eax
  lea ebx, [ebp + 0x34]
  call read_config
  movzx ebx, al
capability:
  or ebx, ebp
  call read_config
  mov ecx, eax                      ; ID, next, length, type
  cmp cl, 9
  jne next
  mov edi, ecx
  shr edi, 24
  cmp edi, 5
  jae next
  add ebx, 4
  call read_config
  movzx eax, al                     ; BAR
  push ebx
  lea ebx, [ebp + 0x10 + eax * 4]
  call read_config
  and eax, ~0xf
  mov esi, eax
  pop ebx
  add ebx, 4
  call read_config
  add eax, esi
  mov [structures + edi * 4], eax
next:
  movzx ebx, ch
  test ebx, ebx
  jnz capability
  mov esi, [structures + 4]         ; the common configuration
  mov byte [esi + 20], 0
  mov byte [esi + 20], 1
  mov byte [esi + 20], 3
  mov dword [esi + 8], 0
  mov dword [esi + 12], 0
  mov dword [esi + 8], 1
  mov dword [esi + 12], 1           ; VIRTIO_F_VERSION_1
  mov byte [esi + 20], 0xb
  test byte [esi + 20], 8
  jz fail
  mov word [esi + 22], 0
  cmp word [esi + 24], 128
  jne fail
  mov dword [esi + 32], 0x20000
  mov dword [esi + 36], 0
  mov dword [esi + 40], 0x20800
  mov dword [esi + 44], 0
  mov dword [esi + 48], 0x21000
  mov dword [esi + 52], 0
  mov word [esi + 28], 1
  mov byte [esi + 20], 0xf
  call build_request
  movzx eax, word [esi + 30]
  shl eax, 2
  add eax, [structures + 8]
  mov word [eax], 0
  sti
wait_interrupt:
  hlt
  cmp byte [taken], 1
  jne wait_interrupt
  cli
  mov cl, [0x23100]
  mov dx, [0x21002]
  hlt
fail:
  mov cl, 0xff
  hlt
on_disk:
  push eax
  mov eax, [structures + 12]
  mov al, [eax]                     ; the ISR: reading it ends the interrupt
  mov [taken], al
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  pop eax
  iret
taken: db 0
  align 4
structures: times 5 dd 0
  ${FIND}
  ${REQUEST}
`;

for (
  const [version, id] of [["modern", 0x1042], ["transitional", 0x1001]] as const satisfies [
    VirtioPciVersion,
    number,
  ][]
) {
  Deno.test(`a modern driver finds a ${version} virtio-blk's structures, and is interrupted`, () => {
    const bus = new PciBus([new VirtioPci(new VirtioBlk(numbered(4)), { version })]);
    const guest = asm({ define: { DEVICE_ID: id } })`${MODERN_DRIVER}`;
    using vm = boot(guest, { devices: [bus], irqchip: true, gates: { 0x2a: "on_disk" } });
    vm.run();
    expect(vm).toHaveRegisters({ cl: 0, dx: 1 });
    expect(vm).toHaveMemory("taken", [1]);
    expect(vm).toHaveMemory(0x24000, [1, 1]);
  });
}

const MMIO_DRIVER = asm`
  bits 32
  mov esi, 0xd0000000
  cmp dword [esi], "virt"
  jne fail
  cmp dword [esi + 4], VERSION
  jne fail
  cmp dword [esi + 8], 2
  jne fail
  mov dword [esi + 0x70], 0
  mov dword [esi + 0x70], 1
  mov dword [esi + 0x70], 3
  mov dword [esi + 0x24], 0
  mov dword [esi + 0x20], 0
%if VERSION = 2
  mov dword [esi + 0x24], 1
  mov dword [esi + 0x20], 1
  mov dword [esi + 0x70], 0xb
  mov dword [esi + 0x30], 0
  mov dword [esi + 0x38], 128
  mov dword [esi + 0x80], 0x20000
  mov dword [esi + 0x90], 0x20800
  mov dword [esi + 0xa0], 0x21000
  mov dword [esi + 0x44], 1
  mov dword [esi + 0x70], 0xf
%else
  mov dword [esi + 0x28], 4096
  mov dword [esi + 0x30], 0
  mov dword [esi + 0x38], 128
  mov dword [esi + 0x3c], 4096
  mov dword [esi + 0x40], 0x20
  mov dword [esi + 0x70], 7
%endif
  call build_request
  mov dword [esi + 0x50], 0
poll:
  cmp word [0x21002], 1
  jne poll
  mov eax, [esi + 0x60]
  mov [esi + 0x64], eax
  mov ebx, [esi + 0x60]
  mov cl, [0x23100]
  hlt
fail:
  mov cl, 0xff
  hlt
  ${REQUEST}
`;

for (const version of [1, 2] as const) {
  Deno.test(`a driver uses virtio-blk by MMIO of version ${version}`, () => {
    const device = new VirtioMmio(new VirtioBlk(numbered(4)), { version });
    const guest = asm({ define: { VERSION: version } })`${MMIO_DRIVER}`;
    using vm = boot(guest, { devices: [device] });
    vm.run();
    expect(vm).toHaveRegisters({ eax: 1, ebx: 0, cl: 0 });
    expect(vm).toHaveMemory(0x24000, [1, 1]);
  });
}
