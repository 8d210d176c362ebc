import { asm, boot, expect, type Size } from "@vmexit/vmexit";
import { FW_CFG_KEY, FwCfg } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";

/** Finds a file by its name in the directory, as firmware does, and copies it to 0x8000. */
const FINDS_FILE = asm`
  bits 32
  cld
  mov ax, 0                 ; the signature
  call select
  mov ecx, 4
  mov edi, 0x7000
  rep insb
  cmp dword [0x7000], "QEMU"
  jne fail
  mov ax, 0x19              ; the directory
  call select
  call read_u32
  mov ebp, eax              ; how many files
entry:
  dec ebp
  js fail
  mov edi, 0x7000           ; size, selector, reserved, name
  mov ecx, 64
  rep insb
  mov esi, name
  mov edi, 0x7008
  mov ecx, name_end - name
  repe cmpsb
  jne entry
  mov ebx, [0x7000]
  bswap ebx
  mov ax, [0x7004]
  xchg al, ah
  call select
  mov edi, 0x8000
  lea ecx, [ebx + 2]        ; behind its end there are zeros
  rep insb
  mov eax, 1
  hlt
fail:
  xor eax, eax
  hlt
select:
  mov edx, 0x510
  out dx, ax
  inc edx
  ret
read_u32:
  in al, dx
  shl eax, 8
  in al, dx
  shl eax, 8
  in al, dx
  shl eax, 8
  in al, dx
  ret
name: db "opt/org.example/b", 0
name_end:
`;

Deno.test("firmware finds a file by its name and reads it by ports", () => {
  const files = { "opt/org.example/a": "no", "opt/org.example/b": "yes!", "opt/z": "no" };
  using vm = boot(FINDS_FILE, { devices: [new FwCfg({ files })], memory: "1M" });
  vm.memory.write(0x8000, new Uint8Array(16).fill(0xee));
  vm.run();
  expect(vm).toHaveRegisters({ eax: 1, ebx: 4 });
  expect(vm).toHaveMemory(0x8000, [...new TextEncoder().encode("yes!"), 0, 0, 0xee]);
  using other = boot(FINDS_FILE, { devices: [new FwCfg({ files: {} })], memory: "1M" });
  other.run();
  expect(other).toHaveRegisters({ eax: 0 });
});

/** Starts the DMA whose FWCfgDmaAccess lies at `access`, and leaves its control in EBX, byte by byte as it stands. */
const DMA = asm`
  bits 32
  mov edx, 0x514
  in eax, dx
  mov esi, eax
  mov edx, 0x518
  in eax, dx
  mov edi, eax
  mov eax, access
  bswap eax
  out dx, eax
  mov ebx, [access]
  hlt
  align 16
access: times 16 db 0xff
`;

function dma(
  device: FwCfg,
  { control, length, address }: { control: number; length: number; address: bigint },
) {
  const vm = boot(DMA, { devices: [device], memory: "1M" });
  const bytes = new DataView(new ArrayBuffer(16));
  bytes.setUint32(0, control);
  bytes.setUint32(4, length);
  bytes.setBigUint64(8, address);
  vm.memory.write("access", new Uint8Array(bytes.buffer));
  vm.memory.write(0x8000, new Uint8Array(16).fill(0xee));
  vm.run();
  return vm;
}

const CONTROL = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;
const FIRST_FILE = FW_CFG_KEY.FILE_FIRST << 16;
const READS_FIRST = FIRST_FILE | CONTROL.SELECT | CONTROL.READ;
const error = { ebx: CONTROL.ERROR << 24 };

Deno.test("DMA reads an item, with zeros behind its end", () => {
  const device = new FwCfg({ files: { a: "abc" } });
  using vm = dma(device, { control: READS_FIRST, length: 5, address: 0x8000n });
  expect(vm).toHaveRegisters({ ebx: 0, esi: 0x554d_4551, edi: 0x4746_4320 });
  expect(vm).toHaveMemory(0x8000, [0x61, 0x62, 0x63, 0, 0, 0xee]);
});

Deno.test("DMA of an item that there is not gives zeros, and of nothing to do ends without an error", () => {
  const control = 0x1234 << 16 | CONTROL.SELECT | CONTROL.READ;
  using vm = dma(new FwCfg(), { control, length: 2, address: 0x8000n });
  expect(vm).toHaveRegisters({ ebx: 0 });
  expect(vm).toHaveMemory(0x8000, [0, 0, 0xee]);
  using nothing = dma(new FwCfg(), { control: 0xe0, length: 2, address: 0x8000n });
  expect(nothing).toHaveRegisters({ ebx: 0 });
});

for (
  const [what, length, address] of [
    ["into a hole", 4, 0x4000_0000n],
    ["over the end of memory", 0x20, 0xf_fff0n],
    ["of 4 GiB", 0xffff_ffff, 0xf_0000n],
    ["around the end of all addresses", 16, 0xffff_ffff_ffff_fff8n],
    ["at an address that no processor has", 16, 0x8000_0000_0000_0000n],
  ] as const
) {
  Deno.test(`DMA ${what} ends with the error bit`, () => {
    const device = new FwCfg({ files: { a: new Uint8Array(64).fill(1) } });
    using vm = dma(device, { control: READS_FIRST, length, address });
    expect(vm).toHaveRegisters(error);
    expect(vm).toHaveMemory(0x8000, [0xee, 0xee]);
  });
}

Deno.test("a file that may be written to is written by DMA, whole or not at all", () => {
  const files = { a: { content: "....", writable: true } };
  const control = FIRST_FILE | CONTROL.SELECT | CONTROL.WRITE;
  const device = new FwCfg({ files });
  using _vm = dma(device, { control, length: 3, address: 0x8000n });
  assertEquals(device.file("a"), Uint8Array.of(0xee, 0xee, 0xee, 0x2e));
  const refused = (device: FwCfg, length: number, address: bigint) => {
    using vm = dma(device, { control, length, address });
    expect(vm).toHaveRegisters(error);
    assertEquals(device.file("a"), new TextEncoder().encode("...."));
  };
  refused(new FwCfg({ files }), 5, 0x8000n);
  refused(new FwCfg({ files }), 4, 0xf_fffen);
  refused(new FwCfg({ files: { a: "...." } }), 3, 0x8000n);
});

Deno.test("a structure in a hole starts nothing", () => {
  using vm = boot(
    asm`
      bits 32
      mov edx, 0x514
      mov eax, 0x01000000     ; 4 GiB on, where nothing is
      out dx, eax
      mov edx, 0x518
      xor eax, eax
      out dx, eax
      hlt
    `,
    { devices: [new FwCfg()] },
  );
  vm.run();
  expect(vm).toBeHalted();
});

const READS_ITEM = asm`
  bits 32
  mov edx, 0x510
  mov eax, esi
  out dx, ax
  out dx, al                ; a byte selects nothing
  inc edx
  out dx, al                ; and what is written to the data is lost
  in ax, dx                 ; a word is no access that it knows
  mov bp, ax
  mov edi, 0x8000
  mov ecx, ebx
  rep insb
  hlt
`;

function item(device: FwCfg, key: number, length: number, memory: Size = "2M"): number[] {
  using vm = boot(READS_ITEM, {
    memory,
    devices: [device],
    registers: { esi: key, ebx: length },
  });
  vm.run();
  expect(vm).toHaveRegisters({ bp: 0 });
  return [...vm.memory.read(0x8000, length)];
}

Deno.test("the classic items", () => {
  const device = () =>
    new FwCfg({ memory: 0x1234_5678, cpus: 3, items: { [FW_CFG_KEY.BOOT_MENU]: "\x01\x00" } });
  assertEquals(item(device(), FW_CFG_KEY.ID, 5), [3, 0, 0, 0, 0]);
  assertEquals(item(new FwCfg({ dma: false }), FW_CFG_KEY.ID, 4), [1, 0, 0, 0]);
  assertEquals(item(device(), FW_CFG_KEY.RAM_SIZE, 8), [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
  assertEquals(item(new FwCfg(), FW_CFG_KEY.RAM_SIZE, 8), [0, 0, 0x20, 0, 0, 0, 0, 0]);
  assertEquals(item(device(), FW_CFG_KEY.NB_CPUS, 3), [3, 0, 0]);
  assertEquals(item(device(), FW_CFG_KEY.MAX_CPUS | 0x4000, 2), [3, 0]);
  assertEquals(item(device(), FW_CFG_KEY.BOOT_MENU, 2), [1, 0]);
  assertEquals(item(device(), FW_CFG_KEY.FILE_DIR, 6), [0, 0, 0, 0, 0, 0]);
  assertEquals(item(device(), 0x9234, 2), [0, 0]);
});

function bzImage(): Uint8Array {
  const kernel = new Uint8Array(3 * 512 + 8);
  kernel.fill(0xcc, 3 * 512);
  const view = new DataView(kernel.buffer);
  view.setUint8(0x1f1, 2);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, 0x20c, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  return kernel;
}

Deno.test("a Linux kernel is taken apart, and its header filled in", () => {
  const initrd = new Uint8Array(0x1001).fill(7);
  const device = () => new FwCfg({ linux: { kernel: bzImage(), commandLine: "quiet", initrd } });
  const number = (key: number) =>
    item(device(), key, 4, "64M").reduce((sum, byte, index) => sum + byte * 256 ** index, 0);
  assertEquals(number(FW_CFG_KEY.KERNEL_ADDR), 0x10_0000);
  assertEquals(number(FW_CFG_KEY.KERNEL_SIZE), 8);
  assertEquals(item(device(), FW_CFG_KEY.KERNEL_DATA, 9), [...Array(8).fill(0xcc), 0]);
  assertEquals(number(FW_CFG_KEY.CMDLINE_SIZE), 6);
  assertEquals(item(device(), FW_CFG_KEY.CMDLINE_DATA, 6), [
    ...new TextEncoder().encode("quiet\0"),
  ]);
  assertEquals(number(FW_CFG_KEY.SETUP_SIZE), 3 * 512);
  const setup = Uint8Array.from(item(device(), FW_CFG_KEY.SETUP_DATA, 3 * 512, "64M"));
  const header = new DataView(setup.buffer);
  assertEquals(header.getUint8(0x210), 0xb0);
  assertEquals(header.getUint8(0x211), 0x81);
  assertEquals(header.getUint32(0x228, true), 0x2_0000);
  // As high as it goes below what is kept for ACPI tables, on a page.
  assertEquals(number(FW_CFG_KEY.INITRD_ADDR), 0x3fd_e000);
  assertEquals(header.getUint32(0x218, true), number(FW_CFG_KEY.INITRD_ADDR));
  assertEquals(header.getUint32(0x21c, true), 0x1001);
  assertEquals(item(device(), FW_CFG_KEY.INITRD_DATA, 1), [7]);
});

Deno.test("what cannot be given to firmware is refused", () => {
  const refused = (options: object, type: typeof RangeError | typeof TypeError, message: string) =>
    void assertThrows(() => new FwCfg(options), type, message);
  refused({ files: { "": "x" } }, RangeError, "1 to 55 characters");
  refused({ files: { ["x".repeat(56)]: "x" } }, RangeError, "1 to 55 characters");
  refused({ files: { "ä": "x" } }, RangeError, "ASCII");
  refused({ cpus: 65536 }, RangeError, "16 bits");
  refused({ memory: -1 }, RangeError, "64 bits");
  const kernel = bzImage();
  refused({ linux: { kernel: kernel.subarray(0, 0x100) } }, TypeError, '"HdrS"');
  refused({ linux: { kernel: kernel.subarray(0, 3 * 512) } }, TypeError, "setup_sects");
  const large = new FwCfg({ linux: { kernel, initrd: new Uint8Array(0x10_0000) } });
  const boots = () => void boot(READS_ITEM, { devices: [large] })[Symbol.dispose]();
  assertThrows(boots, RangeError, "its 1048576 bytes do not fit into memory of 2097152 bytes");
  kernel[0x206] = 1;
  refused({ linux: { kernel } }, TypeError, "0x201");
  assertThrows(() => new FwCfg({ files: { a: "" } }).file("b"), RangeError, "its files are a");
});

Deno.test("reset, save and restore", () => {
  const guest = asm`
    bits 32
    mov edx, 0x510
    mov eax, 0x20
    out dx, ax
    inc edx
    in al, dx
    hlt
    in al, dx
    hlt
  `;
  const files = { a: { content: "abc", writable: true } };
  const device = new FwCfg({ files });
  using vm = boot(guest, { devices: [device] });
  vm.run();
  const state = device.save();
  vm.run();
  expect(vm).toHaveRegisters({ al: "b".charCodeAt(0) });
  device.restore(structuredClone(state));
  vm.registers.set({ eip: vm.registers.eip - 2 });
  vm.run();
  expect(vm).toHaveRegisters({ al: "b".charCodeAt(0) });
  device.reset();
  vm.registers.set({ eip: vm.registers.eip - 2 });
  vm.run();
  expect(vm).toHaveRegisters({ al: "Q".charCodeAt(0) });
});
