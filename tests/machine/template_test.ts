import { assertEquals, assertMatch, assertNotStrictEquals, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  expect,
  hlt,
  type Machine,
  modes,
  portIn,
  type Template,
  template,
} from "@vmexit/vmexit";
import { pc, TestClock } from "@vmexit/vmexit/devices";
import { KVM_HC } from "@vmexit/vmexit/abi";
import { openHandles } from "@vmexit/vmexit/kvm";

/** Counts to `ready` once, then asks for a key. */
const KERNEL = asm`
    mov cx, 1000
  again:
    inc word [0x900]
    loop again
    mov dx, 0x3f8
    mov al, 'R'
    out dx, al
    hlt
  ready:
    in  al, 0x60
    add [0x900], al
    hlt
`;

Deno.test("forks begin where the template's guest stood, and do not know of each other", () => {
  let prepared = 0;
  let booted = 0;
  const kernel = template(() => (booted++, boot(KERNEL)), (vm) => {
    prepared++;
    vm.run();
  });
  assertEquals([prepared, booted], [0, 0]);
  const before = openHandles();
  {
    using one = kernel.fork();
    using two = kernel.fork();
    assertNotStrictEquals(one, two);
    for (const [vm, key] of [[one, 1], [two, 2]] as const) {
      assertEquals(vm.serial.text, "R");
      assertEquals(vm.memory.u16(0x900), 1000);
      assertEquals(vm.registers.rip, vm.image.symbol("ready"));
      assertEquals(vm.hasRun, true);
      assertEquals(vm.lastExit?.reason, "HLT");
      expect(vm).toExit([portIn(0x60).returns(key), hlt()]);
      assertEquals(vm.memory.u16(0x900), 1000 + key);
    }
    // What a fork did is nobody else's affair, and one can be kept as any machine can.
    using three = kernel.fork();
    assertEquals(three.memory.u16(0x900), 1000);
    const start = three.snapshot();
    for (const key of [3, 4]) {
      three.restore(start);
      expect(three).toExit([portIn(0x60).returns(key), hlt()]);
      assertEquals(three.memory.u16(0x900), 1000 + key);
    }
  }
  assertEquals(openHandles(), before);
  assertEquals([prepared, booted], [1, 4]);
});

Deno.test("what a fork's guest wrote before its first snapshot is in that", () => {
  const kernel = template(() => boot(KERNEL), (vm) => vm.run());
  using vm = kernel.fork();
  expect(vm).toExit([portIn(0x60).returns(5), hlt()]);
  const end = vm.snapshot();
  vm.memory.write(0x900, new Uint8Array(2));
  vm.restore(end);
  assertEquals(vm.memory.u16(0x900), 1005);
});

const COUNTING = asm`
    mov eax, 7
    mov ecx, 3
  again:
    mov ebx, eax
    add eax, ebx
    out 0x80, al
    inc byte [count]
    dec ecx
    jnz again
    out 0xf4, al
  count: db 0
`;

/** All that a fork's guest does, and where it ends. */
function ending(vm: Machine) {
  vm.run();
  const { rax, rbx, rcx, rsp, rip, cs } = vm.registers;
  return {
    output: vm.portOutput.bytes(0x80),
    exits: vm.log.total,
    status: vm.exitStatus,
    count: vm.linear.u8("count"),
    registers: [rax, rbx, rcx, rsp, rip, cs.base],
  };
}

for (const { name, options } of modes()) {
  Deno.test(`a fork goes on as its template's guest would: ${name}`, () => {
    const boots = () =>
      boot(COUNTING, { ...options, exitPort: 0xf4, ports: { 0x80: { write() {} } } });
    const steps = (vm: Machine) => {
      for (let count = 0; count < 6; count++) vm.step();
    };
    using plain = boots();
    steps(plain);
    const expected = ending(plain);
    assertEquals(expected.output.length, 3);
    const stepped = template(boots, steps);
    using fork = stepped.fork();
    assertEquals(ending(fork), expected);
  });
}

Deno.test("a fork has the controllers, the timer and the devices of its template", () => {
  const clock = template(
    () =>
      boot(
        asm`
          cli
          mov word [0x08 * 4], tick
          mov word [0x08 * 4 + 2], cs
          mov al, 0x11
          out 0x20, al
          mov al, 0x08
          out 0x21, al
          mov al, 4
          out 0x21, al
          mov al, 1
          out 0x21, al
          mov al, 0xfe
          out 0x21, al
          mov al, 0x34
          out 0x43, al
          mov ax, 11932
          out 0x40, al
          mov al, ah
          out 0x40, al
          mov al, 0x2a
          out 0x70, al
          mov al, 0x5c
          out 0x71, al
          mov al, 0x2a
          out 0x70, al
          out 0xf4, al
          sti
        wait_for_two:
          hlt
          cmp byte [0x900], 2
          jb wait_for_two
          in al, 0x71
          cli
          hlt
        tick:
          inc byte [0x900]
          push ax
          mov al, 0x20
          out 0x20, al
          pop ax
          iret
        `,
        { devices: pc(), clock: new TestClock(), exitPort: 0xf4 },
      ),
    (vm) => vm.run(),
  );
  for (let fork = 0; fork < 2; fork++) {
    using vm = clock.fork();
    assertEquals(vm.memory.u8(0x900), 0);
    vm.run();
    assertEquals(vm.memory.u8(0x900), 2);
    assertEquals(vm.registers.al, 0x5c);
  }
});

/** A handler with state of its own. */
function counting() {
  let count = 0;
  return {
    read: () => ++count,
    answer: () => ({ ret: BigInt(++count) }),
    save: () => count,
    restore: (saved: unknown) => void (count = saved as number),
  };
}

Deno.test("a handler with state of its own has it in the fork, and each fork its own", () => {
  const counted = template(
    () => {
      const vm = boot(
        asm`
        bits 64
          call all
          hlt
          call all
          hlt
        all:
          in al, 0x60
          mov [0x900], al
          mov al, [0x4000_0000]
          mov [0x901], al
          mov ecx, 0x12345
          rdmsr
          mov [0x902], al
          mov ecx, 0x23456
          rdmsr
          mov [0x903], al
          mov eax, 12             ; KVM_HC_MAP_GPA_RANGE
          mov ebx, 0x2000
          mov ecx, 3
          mov edx, 0x10
          vmmcall
          mov [0x904], al
          ret
        `,
        {
          mode: "long",
          capabilities: { KVM_CAP_EXIT_HYPERCALL: 1 << KVM_HC.MAP_GPA_RANGE },
          ports: { 0x60: counting() },
          mmio: { 0x4000_0000: counting() },
          mappings: [{ linear: 0x4000_0000n, physical: 0x4000_0000, size: 0x1000 }],
        },
      );
      vm.on("HYPERCALL", counting());
      vm.msrs.on(0x12345, counting());
      vm.msrs.onUnknown(counting());
      return vm;
    },
    (vm) => vm.run(),
  );
  for (let fork = 0; fork < 2; fork++) {
    using vm = counted.fork();
    assertEquals([...vm.memory.read(0x900, 5)], [1, 1, 1, 1, 1]);
    vm.run();
    assertEquals([...vm.memory.read(0x900, 5)], [2, 2, 2, 2, 2]);
  }
});

Deno.test("a fork has all CPUs where they stood", () => {
  const two = template(
    () =>
      boot(
        asm`
          mov al, 1
          hlt
          inc al
          hlt
        second:
          mov al, 0x11
          hlt
          inc al
          hlt
        `,
        { cpus: [{}, { entry: "second" }] },
      ),
    (vm) => vm.run(),
  );
  using vm = two.fork();
  assertEquals(vm.cpus.map(({ registers }) => registers.al), [1, 0x11]);
  vm.run();
  assertEquals(vm.cpus.map(({ registers }) => registers.al), [2, 0x12]);
});

/** What is wrong with a template, and what its fork says. */
const WRONG: readonly [what: string, make: () => Machine, error: RegExp][] = [
  [
    "a handler that only its preparation added",
    () =>
      template(() => boot(KERNEL), (vm) => (vm.ports.on(0x61, { read: () => 1 }), vm.run())).fork(),
    /Cannot fork the machine: its handlers .* It had also a handler of ports 0x61\. Give them to boot/,
  ],
  [
    "a handler of exits that only its preparation added",
    () => template(() => boot(KERNEL), (vm) => (vm.on("DEBUG", () => {}), vm.run())).fork(),
    /It had also a handler of DEBUG exits/,
  ],
  [
    "an MSR's rule that only its preparation made",
    () => template(() => boot(KERNEL), (vm) => (vm.msrs.deny(0x10), vm.run())).fork(),
    /It had also a rule \(deny\) of MSR /,
  ],
  [
    "a handler of unknown MSRs that only its preparation added",
    () => template(() => boot(KERNEL), (vm) => (vm.msrs.onUnknown(), vm.run())).fork(),
    /It had also a handler of unknown MSRs/,
  ],
  [
    "a second handler of all other ports that only its preparation added",
    () =>
      template(
        () => {
          const vm = boot(KERNEL);
          vm.ports.otherwise({ read: () => 1 });
          return vm;
        },
        (vm) => (vm.ports.otherwise({ read: () => 2 }), vm.run()),
      ).fork(),
    /It had also a handler of all other ports \(number 2\)/,
  ],
  [
    "a memory slot that only its preparation added",
    () =>
      template(
        () => boot(KERNEL),
        (vm) => (vm.memory.addSlot({ gpa: 0x100_0000, size: "4K" }), vm.run()),
      ).fork(),
    /memory slots are not those/,
  ],
  [
    "other machines each time",
    () => {
      let cpus = 1;
      return template(
        () => boot(asm`hlt`, { cpus: cpus++ }),
        (vm) => vm.run(),
      ).fork();
    },
    /its CPUs are not those .* It had also 1 CPUs\. It no longer had 2 CPUs/,
  ],
  [
    "the same machine each time",
    () => {
      using vm = boot(KERNEL);
      return template(() => vm, (vm) => vm.run()).fork();
    },
    /Cannot fork the template: the machine is disposed/,
  ],
  [
    "a machine that has run",
    () => {
      const ran = boot(KERNEL);
      ran.run();
      using _ran = ran;
      return template(() => ran, () => {}).fork();
    },
    /the machine that its first function gives has been run/,
  ],
  [
    "no machine",
    () => template((() => 5) as unknown as () => Machine, () => {}).fork(),
    /its first function gives no machine/,
  ],
  [
    "a fork in its own preparation",
    () => {
      const self: Template = template(() => boot(KERNEL), () => void self.fork());
      return self.fork();
    },
    /Cannot fork the template: it is being made/,
  ],
  [
    "a preparation that ends the machine",
    () => template(() => boot(KERNEL), (vm) => vm[Symbol.dispose]()).fork(),
    /Cannot take a snapshot: the machine is disposed/,
  ],
  [
    "an async preparation",
    () => template(() => boot(KERNEL), (async () => {}) as unknown as () => void).fork(),
    /Cannot prepare a template by an async function: it returned a promise/,
  ],
  [
    "a preparation that is no function",
    () => template(() => boot(KERNEL), 5 as unknown as () => void).fork(),
    /Cannot make a template: give two functions/,
  ],
  [
    "a guest that waits for an answer",
    () =>
      template(() => boot(asm`in al, 0x60`), (vm) => {
        for (const _ of vm.exits()) break;
      }).fork(),
    /Cannot take a snapshot: /,
  ],
];

for (const [what, fork, error] of WRONG) {
  Deno.test(`a template is refused: ${what}`, () => {
    const before = openHandles();
    const thrown = assertThrows(fork, Error);
    assertMatch(thrown.message, error);
    assertMatch(
      thrown.stack!.split("\n").find((line) => /^\s+at /.test(line))!,
      /template_test\.ts/,
    );
    assertEquals(openHandles(), before);
  });
}

Deno.test("a template that has failed says so at each fork, and does not try again", () => {
  let prepared = 0;
  const failing = template(() => boot(KERNEL), () => {
    prepared++;
    throw new Error("no disk");
  });
  assertThrows(() => failing.fork(), Error, "no disk");
  const again = assertThrows(
    () => failing.fork(),
    TypeError,
    "Cannot fork the template: its machine could not be prepared before: no disk",
  );
  assertEquals((again.cause as Error).message, "no disk");
  assertEquals(prepared, 1);
});
