import { asm, boot, HostError, requires, TimeLimitError } from "@vmexit/vmexit";
import { IOCTLS, KVM_DEV_TYPE } from "@vmexit/vmexit/abi";
import { ERRNO, kvmLibc, type Libc, libc, openHandles } from "@vmexit/vmexit/kvm";
import { MAP, MAP_FAILED, PROT } from "../../../lib/ffi/mman.ts";
import { ThreadTimer } from "../../../lib/ffi/thread_timer.ts";
import { emulatedMachine, remoteLibc } from "../../../lib/kvm/remote/kvm_choice.ts";
import { RemoteLibc } from "../../../lib/kvm/remote/remote_libc.ts";
import { RemoteMachine } from "../../../lib/kvm/remote/remote_machine.ts";
import { requireImage } from "../../../lib/kvm/remote/machine_image.ts";
import { notedMachines } from "../../../lib/kvm/remote/machine_process.ts";
import { OWN_CALL, SYSTEM_CALL, WINDOW } from "../../../lib/kvm/remote/window.ts";
import { assert, assertEquals, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import { levels } from "../levels.ts";
import { gone, machinesOf } from "./remote_processes.ts";

/** Only where tests use such a machine: elsewhere they would have it made first. */
const ignore = emulatedMachine() !== "qemu-svm";
const name = (text: string) =>
  ignore ? `${text} (skipped: KVM is not an emulated machine's)` : text;
const test = (text: string, fn: () => void | Promise<void>) =>
  Deno.test({ name: name(text), ignore, fn });

const image = () => requireImage({ because: "the test wants it" });
const halting = asm`hlt`;

/** The processes of the machine that boot uses here now. */
function machine(): { supervisor: number; machine: number } {
  const [supervisor, machine] = remoteLibc()!.machine.processes;
  return { supervisor, machine };
}

/** A machine beside that of `boot`. */
function anotherMachine(): RemoteMachine {
  return RemoteMachine.start(libc(), image());
}

test("a machine that is killed in the middle of a run is an error with its last words, and the next boot has another", async () => {
  const before = openHandles();
  const { machine: pid, supervisor } = machine();
  {
    using vm = boot(asm`
      mov al, 1
      out 0x10, al
      jmp $
    `);
    vm.ports.on(0x10, { write: () => Deno.kill(pid, "SIGKILL") });
    const began = performance.now();
    const error = assertThrows(() => vm.run(), HostError, "ended by itself");
    assertLess(performance.now() - began, 1_000);
    assertStringIncludes(error.message, "QEMU's exit status: 137");
    // Whatever is asked of it says the same.
    assertThrows(() => vm.run(), HostError, "ended by itself");
    assertThrows(() => vm.registers.rax, HostError, "ended by itself");
  }
  assertEquals(openHandles(), before);
  assert(await gone([pid, supervisor]));
  using vm = boot(halting);
  assertEquals(vm.run().reason, "HLT");
  assertEquals(machinesOf(Deno.pid).filter((each) => each.machine === pid), []);
});

test("machines of before and after are told apart", () => {
  using old = boot(asm`
    hlt
    hlt
  `);
  old.run();
  const view = old.memory.view(0x500, 2);
  assertEquals([...view], [0xf4, 0xf4]);
  Deno.kill(machine().machine, "SIGKILL");
  assertThrows(() => old.run(), HostError);
  using young = boot(halting);
  assertEquals(young.run().reason, "HLT");
  assertThrows(() => old.run(), HostError, "ended");
  // Its memory went with it, and touching it harms nobody.
  assertEquals([...view], [0, 0]);
  view[0] = 1;
  assertEquals(young.memory.u8(0x500), 0xf4);
});

test("an agent that crashes is a panic of the machine's kernel, which the error shows", () => {
  using vm = boot(halting);
  const own = anotherMachine();
  own.add(OWN_CALL.copy, 0x10, 0x10, 8);
  assertThrows(() => own.send(), HostError, "Attempted to kill init");
  assertThrows(() => own.post(), HostError, "Attempted to kill init");
  assertEquals(vm.run().reason, "HLT");
});

test("a machine that hangs is an error within its limit, and is gone", async () => {
  using vm = boot(halting);
  const own = anotherMachine();
  const [supervisor, pid] = own.processes;
  Deno.kill(pid, "SIGSTOP");
  own.add(SYSTEM_CALL.gettid);
  const began = performance.now();
  assertThrows(() => own.send(500), HostError, "has not answered for 500 ms");
  assertLess(performance.now() - began, 2_500);
  assert(await gone([pid, supervisor]));
  assertEquals(vm.run().reason, "HLT");
});

test("a guest that hangs its KVM is an error soon after its time limit", () => {
  const remote = new RemoteLibc(libc(), image, 100);
  using vm = boot(
    asm`
      out 0x10, al
      jmp $
    `,
    { libc: remote.libc, timeout: 5 },
  );
  const pid = remote.machine.processes[1];
  vm.ports.on(0x10, { write: () => Deno.kill(pid, "SIGSTOP") });
  const began = performance.now();
  assertThrows(() => vm.run(), HostError, "its kernel, or QEMU, hangs");
  assertLess(performance.now() - began, 2_500);
});

test("more memory than is shared is an error, and what was there before goes on", () => {
  using vm = boot(halting, { memory: "1G" });
  vm.memory.setU8(0x3fff_ffff, 7);
  assertThrows(() => boot(halting, { memory: "1G" }), HostError, "Ask for less with the `memory`");
  assertThrows(() => boot(halting, { memory: "3G" }), HostError, "Ask for less with the `memory`");
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.memory.u8(0x3fff_ffff), 7);
});

test("1 GiB in sum, in several machines at once, each with memory of its own", () => {
  using machines = new DisposableStack();
  const all = Array.from({ length: 8 }, (_, index) => {
    const vm = machines.use(boot(
      asm`
        bits 64
        mov byte [0x7000000], ${index}
        hlt
      `,
      { memory: "128M" },
    ));
    vm.run();
    return vm;
  });
  assertEquals(all.map((vm) => vm.memory.u8(0x700_0000)), [0, 1, 2, 3, 4, 5, 6, 7]);
});

test("a guest that overwrites all of its memory harms no other, nor the agent", () => {
  using other = boot(halting, { memory: "64K" });
  using hostile = boot(
    asm`
      bits 32
      mov edi, end
      mov ecx, 0x200000
      sub ecx, edi
      mov al, 0xff
      cld
      rep stosb
      xor edi, edi
      mov ecx, 0x10000
      rep stosb
      jmp $
    end:
    `,
    { memory: "2M" },
  );
  assertThrows(() => hostile.run({ timeout: 10 }));
  assertEquals(hostile.memory.u8(0x1f_ffff), 0xff);
  assertEquals(other.run().reason, "HLT");
  assert(other.memory.read(0x600, 0x1000).every((byte) => byte === 0));
});

test("what the machine cannot do is the kernel's own errno, by name", () => {
  const c = kvmLibc();
  assertEquals([c.open("/nowhere", 0), c.errno()], [-1, 2]);
  const kvm = c.open("/dev/kvm", 2);
  assertEquals([c.ioctl(kvm, 0xae99, 0), c.errno()], [-1, 22]);
  assertEquals([c.ioctlBuffer(kvm, 0xae99, new Uint8Array(8)), c.errno()], [-1, 22]);
  assertEquals(c.close(kvm), 0);
  assertEquals([c.ioctl(kvm, 0xae00, 0), c.errno()], [-1, 9]);
  assertEquals([c.read(3, new Uint8Array(1)), c.errno()], [-1, 9]);
  assertThrows(() => c.ioctlBuffer(kvm, 0xae99, new Uint8Array(1 << 20)), RangeError);
});

test("timers have numbers that the kernel does not give again, however many there were", () => {
  const c = kvmLibc();
  for (let count = 0; count < 5_000; count++) new ThreadTimer(c)[Symbol.dispose]();
  using vm = boot(asm`jmp $`);
  assertThrows(() => vm.run({ timeout: 5 }), TimeLimitError);
});

test("a machine with dirty rings is let go like any other, and its vCPU runs on without its ring", async () => {
  boot(halting, { dirtyPages: "ring" })[Symbol.dispose]();
  const own = remoteLibc()!.machine;
  const pid = own.processes[1];
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(own.isHeld, false);
  using vm = boot(halting);
  assertEquals([vm.run().reason, machine().machine], ["HLT", pid]);
});

test("a process has one machine for all that it boots, and openHandles counts as always", () => {
  const before = openHandles();
  const { machine: pid } = machine();
  const all = machinesOf(Deno.pid).length;
  for (let round = 0; round < 20; round++) {
    using vm = boot(halting, { irqchip: round % 2 === 0 });
    vm.step();
  }
  assertEquals([machine().machine, machinesOf(Deno.pid).length], [pid, all]);
  assertEquals(openHandles(), before);
});

test("an image that does not start is looked through, made anew if need be, and tried once more", () => {
  const asked: boolean[] = [];
  const damaged = { ...image(), folder: "/nowhere" };
  const remote = new RemoteLibc(libc(), (again) => {
    asked.push(again);
    return again ? image() : damaged;
  });
  // A machine of this thread that is idle would do: it is held.
  using _vm = boot(halting);
  const fd = remote.libc.open("/dev/kvm", 2);
  assert(fd > 0);
  assertEquals(asked, [false, true]);
  remote.libc.close(fd);
});

test("a descriptor that is closed is EBADF, and no request is made: the machine may be another thread's", () => {
  const c = kvmLibc();
  const fd = c.open("/dev/kvm", 2);
  const { machine: own } = remoteLibc()!;
  c.close(fd);
  own.settle();
  own.release();
  assertEquals(own.isHeld, false);
  const requests = () => new Int32Array(own.head.buffer)[WINDOW.request >> 2];
  const before = requests();
  const bytes = new Uint8Array(8);
  for (
    const use of [
      () => c.read(fd, bytes),
      () => c.write(fd, bytes),
      () => c.pread(fd, bytes, 0),
      () => c.lseek(fd, 0, 0),
      () => c.ioctl(fd, IOCTLS.KVM_GET_API_VERSION.number, 0),
      () => c.ioctl(fd, IOCTLS.KVM_RUN.number, 0),
      () => c.ioctlBuffer(fd, IOCTLS.KVM_GET_REGS.number, bytes),
      () => c.mmap(4096, 3, 1, fd, 0) === MAP_FAILED ? -1 : 0,
    ]
  ) assertEquals([use(), c.errno()], [-1, ERRNO.EBADF], String(use));
  assertEquals([c.madvise(own.address + 0x20_0000n, 4096, 14), c.errno()], [-1, ERRNO.ENOMEM]);
  assertEquals(requests(), before);
  assertEquals(own.isHeld, false);
});

test("what is mapped is there at once, without another request", () => {
  const c = kvmLibc();
  const bytes = new TextEncoder().encode("mapped");
  const fd = c.memfd_create("mapped", 0);
  assertEquals(c.write(fd, bytes), bytes.length);
  const address = c.mmap(4096, PROT.READ | PROT.WRITE, MAP.SHARED, fd, 0);
  assert(address !== MAP_FAILED);
  assertEquals(new Uint8Array(c.memory(address, bytes.length)).slice(), bytes);
  c.munmap(address, 4096);
  c.close(fd);
});

test("a device that is only tried counts no descriptor: the machine is let go", () => {
  const { machine: own } = remoteLibc()!;
  {
    using on = levels();
    assertEquals(on.vm.hasDevice(KVM_DEV_TYPE.VFIO), true);
  }
  own.release();
  assertEquals(own.isHeld, false);
});

test("the notes of a machine are read at once", () => {
  using _vm = boot(halting);
  const reads: number[] = [];
  const counting = {
    ...libc(),
    pread: (...args: Parameters<Libc["pread"]>) => (reads.push(args[0]), libc().pread(...args)),
  };
  const found = [...notedMachines(counting)];
  assert(found.some(({ parts }) => parts.window === remoteLibc()!.machine.window));
  assertEquals(reads.length, found.length);
});

Deno.test(requires({}, "requires() knows the machine"), () => {
  assertEquals(requires({ breakpoints: true }).ignore, emulatedMachine() === "qemu-svm");
});
