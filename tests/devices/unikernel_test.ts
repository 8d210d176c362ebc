import { asm, boot, expect, type Machine } from "@vmexit/vmexit";
import { Unikernel, type UnikernelOptions } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";

/** A guest that makes the calls of a list at 0x8000: port (dword) and address (dword) each, up to a port of 0. */
const CALLER = asm`
  bits 64
  mov rsi, 0x8000
next:
  mov edx, [rsi]
  test edx, edx
  jz done
  mov eax, [rsi+4]
  out dx, eax
  add rsi, 8
  jmp next
done:
  hlt
`;

/** Where the structure of call N lies, and where texts and buffers go. */
const structureAt = (index: number) => 0x9000 + 0x40 * index;
const TEXTS = 0xc000;
const BUFFER = 0xd000;

const PORT = {
  write: 0x400,
  open: 0x440,
  close: 0x480,
  read: 0x500,
  exit: 0x540,
  lseek: 0x580,
  netwrite: 0x640,
  netread: 0x680,
  netstat: 0x700,
  cmdsize: 0x740,
  cmdval: 0x780,
  unlink: 0x840,
};

type Member = readonly ["i32" | "u64" | "i64", number];
type Call = readonly [keyof typeof PORT, ...Member[]];

/** A machine whose guest makes these calls. */
function caller(device: Unikernel, calls: readonly Call[]): Machine {
  const vm = boot(CALLER, { convention: "unikernel", devices: [device], serial: false });
  for (const [index, [name, ...members]] of calls.entries()) {
    vm.memory.setU32(0x8000 + 8 * index, PORT[name]);
    vm.memory.setU32(0x8004 + 8 * index, structureAt(index));
    let at = structureAt(index);
    for (const [type, value] of members) {
      if (type === "i32") vm.memory.setU32(at, value >>> 0);
      else vm.memory.setU64(at, BigInt.asUintN(64, BigInt(value)));
      at += type === "i32" ? 4 : 8;
    }
  }
  return vm;
}

const i32 = (value: number): Member => ["i32", value];
const u64 = (value: number): Member => ["u64", value];
const i64 = (value: number): Member => ["i64", value];
const open = (name = TEXTS, flags = 0): Call => ["open", u64(name), i32(flags), i32(0o644), i32(0)];
const read = (fd: number, length: number): Call => [
  "read",
  i32(fd),
  u64(BUFFER),
  u64(length),
  i64(0),
];
const write = (fd: number, length: number, at = BUFFER): Call => [
  "write",
  i32(fd),
  u64(at),
  u64(length),
];

/** What a call's member is after the run. */
const ret = (vm: Machine, index: number, offset: number) =>
  vm.memory.u32(structureAt(index) + offset) | 0;

Deno.test("a file is opened, read over its end, sought and closed", () => {
  const device = new Unikernel({ files: { "/etc/motd": "hello, world" } });
  using vm = caller(device, [
    open(),
    read(3, 5),
    ["lseek", i32(3), i64(-5), i32(2)],
    read(3, 100),
    ["close", i32(3), i32(9)],
    ["close", i32(3), i32(9)],
  ]);
  vm.memory.write(TEXTS, "/etc/motd\0");
  vm.run();
  assertEquals(ret(vm, 0, 16), 3);
  assertEquals(ret(vm, 1, 20), 5);
  assertEquals(ret(vm, 2, 4), 7);
  assertEquals(ret(vm, 3, 20), 5);
  assertEquals([ret(vm, 4, 4), ret(vm, 5, 4)], [0, -1]);
  expect(vm).toHaveMemory(BUFFER, "world");
  assertEquals(device.calls.map(({ name }) => name), [
    "open",
    "read",
    "lseek",
    "read",
    "close",
    "close",
  ]);
  assertEquals(device.calls[0].values.name, "/etc/motd");
});

Deno.test("files are read-only unless told; told, they are made, appended to and removed", () => {
  const calls: Call[] = [open(TEXTS, 0o1102), write(3, 3), ["unlink", u64(TEXTS + 8), i32(0)]];
  const run = (options: UnikernelOptions) => {
    const device = new Unikernel({ ...options, files: { "old": "x" } });
    using vm = caller(device, options.writable ? calls : [calls[0], calls[2]]);
    vm.memory.write(TEXTS, "new\0");
    vm.memory.write(TEXTS + 8, "old\0");
    vm.memory.write(BUFFER, "abc");
    vm.run();
    return { opened: ret(vm, 0, 16), files: Object.fromEntries(device.files) };
  };
  assertEquals(run({}), { opened: -1, files: { old: new TextEncoder().encode("x") } });
  assertEquals(run({ writable: true }), {
    opened: 3,
    files: { new: new TextEncoder().encode("abc") },
  });
});

Deno.test("a buffer of read and write is virtual, over the border of two pages that lie apart", () => {
  const device = new Unikernel({ input: "0123456789" });
  const linear = 0x40_0000;
  using vm = boot(CALLER, {
    convention: "unikernel",
    devices: [device],
    mappings: [
      { linear, physical: 0x10_0000, size: 0x1000 },
      { linear: linear + 0x1000, physical: 0x12_0000, size: 0x1000 },
    ],
  });
  vm.memory.setU32(0x8000, PORT.read);
  vm.memory.setU32(0x8004, 0x9000);
  vm.memory.setU32(0x9000, 0);
  vm.memory.setU64(0x9004, BigInt(linear + 0xffc));
  vm.memory.setU64(0x900c, 8n);
  vm.memory.setU32(0x8008, PORT.write);
  vm.memory.setU32(0x800c, 0x9100);
  vm.memory.setU32(0x9100, 1);
  vm.memory.setU64(0x9104, BigInt(linear + 0xffc));
  vm.memory.setU64(0x910c, 8n);
  vm.run();
  expect(vm).toHaveMemory(0x10_0ffc, "0123");
  expect(vm).toHaveMemory(0x12_0000, "4567");
  assertEquals(device.output, "01234567");
});

Deno.test("arguments and the environment come by their sizes and into the guest's buffers", () => {
  const device = new Unikernel({ args: ["-v", "file"], env: { HOME: "/" } });
  using vm = caller(device, [["cmdsize"], ["cmdval", u64(0xa800), u64(0xa900)]]);
  vm.memory.setU32(0x8004, 0xe000);
  vm.memory.setU64(0xa800, 0xb000n);
  vm.memory.setU64(0xa808, 0xb010n);
  vm.memory.setU64(0xa900, 0xb020n);
  vm.run();
  assertEquals([0, 4, 8, 516, 520].map((offset) => vm.memory.u32(0xe000 + offset)), [
    2,
    3,
    5,
    1,
    7,
  ]);
  expect(vm).toHaveMemory(0xb000, "-v\0");
  expect(vm).toHaveMemory(0xb010, "file\0");
  expect(vm).toHaveMemory(0xb020, "HOME=/\0");
});

Deno.test("exit turns the power off with a status, and the UART's bytes are output", () => {
  const device = new Unikernel();
  using vm = boot(
    asm`
      bits 64
      mov dx, 0x800
      mov al, 'k'
      out dx, al
      mov dx, 0x540
      mov eax, status
      out dx, eax
      hlt
    status: dd -3
    `,
    { devices: [device] },
  );
  assertEquals(vm.run().reason, "SYSTEM_EVENT");
  assertEquals([device.output, device.exitStatus], ["k", -3]);
});

Deno.test("frames go out and come in, and without a network it is down", () => {
  const device = new Unikernel({ frames: [new TextEncoder().encode("ping")] });
  const calls: Call[] = [
    ["netstat", i32(9)],
    ["netread", u64(BUFFER), u64(1500), i32(9)],
    ["netread", u64(BUFFER), u64(1500), i32(9)],
    ["netwrite", u64(BUFFER), u64(4), i32(9)],
  ];
  using vm = caller(device, calls);
  vm.run();
  assertEquals([ret(vm, 0, 0), ret(vm, 1, 16), ret(vm, 1, 8), ret(vm, 2, 16), ret(vm, 3, 16)], [
    1,
    0,
    4,
    -1,
    0,
  ]);
  assertEquals(device.sentFrames.map((frame) => new TextDecoder().decode(frame)), ["ping"]);
  using down = caller(new Unikernel(), [calls[0], calls[3]]);
  down.run();
  assertEquals([ret(down, 0, 0), ret(down, 1, 16)], [0, -1]);
});

Deno.test("no path, link or NUL leads out of the guest's folder", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${folder}/root/sub`, { recursive: true });
    Deno.writeTextFileSync(`${folder}/secret`, "secret");
    Deno.writeTextFileSync(`${folder}/root/sub/file`, "inside");
    Deno.symlinkSync("../secret", `${folder}/root/link`);
    Deno.symlinkSync("..", `${folder}/root/up`);
    const paths = [
      "/sub/file",
      "../secret",
      "/sub/../../secret",
      "link",
      "up/secret",
      "sub",
      "",
      "/",
    ];
    for (const writable of [false, true]) {
      const device = new Unikernel({ folder: `${folder}/root`, writable });
      using vm = caller(
        device,
        paths.flatMap((_, index) => [
          open(TEXTS + 0x40 * index, writable ? 0o102 : 0),
        ]),
      );
      for (const [index, path] of paths.entries()) {
        vm.memory.write(TEXTS + 0x40 * index, `${path}\0`);
      }
      vm.run();
      assertEquals(paths.map((_, index) => ret(vm, index, 16)), [3, -1, -1, -1, -1, -1, -1, -1]);
    }
    const device = new Unikernel({ folder: `${folder}/root`, writable: true });
    using vm = caller(device, [
      open(TEXTS, 0o1101),
      write(3, 4),
      ["unlink", u64(TEXTS + 0x40), i32(0)],
      ["unlink", u64(TEXTS + 0x80), i32(0)],
    ]);
    vm.memory.write(TEXTS, "new\0");
    vm.memory.write(TEXTS + 0x40, "sub/file\0");
    vm.memory.write(TEXTS + 0x80, "../secret\0");
    vm.memory.write(BUFFER, "data");
    vm.run();
    assertEquals([ret(vm, 2, 8), ret(vm, 3, 8)], [0, -1]);
    assertEquals(Deno.readTextFileSync(`${folder}/root/new`), "data");
    assertEquals(Deno.readTextFileSync(`${folder}/secret`), "secret");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("ten thousand opens run out of descriptors, and none stays open behind the machine", () => {
  const folder = Deno.makeTempDirSync();
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  try {
    Deno.writeTextFileSync(`${folder}/f`, "x");
    {
      const device = new Unikernel({ folder });
      using vm = boot(
        asm`
          bits 64
          mov dx, 0x440
          mov ecx, 10000
        again:
          mov eax, 0x9000
          out dx, eax
          cmp dword [0x9010], -1
          je full
          loop again
        full:
          hlt
        `,
        { devices: [device], memory: "4M", timeout: 10_000 },
      );
      vm.memory.write(TEXTS, "f\0");
      vm.memory.setU64(0x9000, BigInt(TEXTS));
      const before = descriptors();
      vm.run();
      assertEquals(ret(vm, 0, 16), -1);
      assertEquals(descriptors() - before, 1024);
      assertEquals(vm.registers.ecx, 10_000 - 1024);
    }
    assert(descriptors() < 1000);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("all files in memory together have 64 MiB at the most", () => {
  const device = new Unikernel({ writable: true });
  const far = 40 * 1024 * 1024;
  const calls: Call[] = [3, 4].flatMap((fd, index): Call[] => [
    open(TEXTS + 8 * index, 0o102),
    ["lseek", i32(fd), i64(far), i32(0)],
    write(fd, 1),
  ]);
  using vm = caller(device, calls);
  vm.memory.write(TEXTS, "a\0");
  vm.memory.write(TEXTS + 8, "b\0");
  assertThrows(() => vm.run(), RangeError, "descriptor 4 takes no more");
  assertEquals([...device.files].map(([name, { length }]) => [name, length]), [
    ["a", far + 1],
    ["b", 0],
  ]);
});

Deno.test("pointers past memory, lengths that nothing has and other widths are faults of the guest's", () => {
  const run = (...calls: Call[]) => () => {
    using vm = caller(new Unikernel({ input: "x", frames: [] }), calls);
    vm.run();
  };
  assertThrows(run(open(0x7fff_f000)), RangeError, "hypercall open: name is at 0x7ffff000");
  assertThrows(run(write(1, 1, 0x7fff_f000)), RangeError, "hypercall write: buf");
  assertThrows(run(["netwrite", u64(0x7fff_f000), u64(60), i32(0)]), RangeError, "netwrite: data");
  assertThrows(run(write(7, 1)), RangeError, "no descriptor 7");
  const message = assertThrows(run(write(1, 0xffff_ffff)), RangeError).message;
  assertStringIncludes(message, "hypercall write: buf is at 0xd000, where the guest has no memory");
  using narrow = boot(
    asm`
      mov dx, 0x400
      out dx, al
      hlt
    `,
    { devices: [new Unikernel()] },
  );
  assertThrows(() => narrow.run(), RangeError, "the guest wrote 1 byte to port 0x400");
});

Deno.test("whatever a guest writes to the calls' ports, the run ends or goes on, and nothing else happens", () => {
  const names = Object.keys(PORT).filter((name) => name !== "exit") as (keyof typeof PORT)[];
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.constantFrom(...names), fc.uint8Array({ minLength: 40, maxLength: 40 })),
        { minLength: 1, maxLength: 40 },
      ),
      (calls) => {
        const device = new Unikernel({ files: { a: "b" }, writable: true, frames: [] });
        using vm = caller(device, calls.map(([name]) => [name] as const));
        for (const [index, [, bytes]] of calls.entries()) {
          vm.memory.write(structureAt(index), bytes);
        }
        try {
          vm.run();
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          assertStringIncludes(error.message, "Cannot take the hypercall");
        }
        vm.memory.u8(0x9000);
      },
    ),
    { numRuns: 50, seed: 7 },
  );
});

Deno.test("options that cannot be are refused", () => {
  assertThrows(() => new Unikernel({ files: {}, folder: "/" }), TypeError, "one of them");
  assertThrows(() => new Unikernel({ file: {} } as never), TypeError, "the nearest are files");
  assertThrows(() => new Unikernel({ writable: "yes" } as never), TypeError, "true or false");
  assertThrows(() => new Unikernel({ files: { "../x": "" } }), RangeError, '"../x"');
  assertThrows(() => new Unikernel({ args: Array(129).fill("x") }), RangeError, "129 arguments");
  for (
    const options of [
      { args: "abc" },
      { args: [3] },
      { args: ["a\0b"] },
      { env: { A: undefined } },
      { env: { "a=b": "c" } },
      { input: 3 },
      { frames: "x" },
      { files: { a: 3 } },
    ]
  ) assertThrows(() => new Unikernel(options as never), TypeError, "Cannot give the guest");
  const device = new Unikernel();
  using _vm = boot(asm`hlt`, { devices: [device] });
  assertThrows(() => boot(asm`hlt`, { devices: [device] }), TypeError, "another machine's");
});
