import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  type BootOptions,
  expect,
  GuestFaultError,
  type Machine,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { checkGuestState, checkVmrunState } from "@vmexit/vmexit/x86";
import { modes, type NamedBoot, needsOf } from "../../modes/modes.ts";
import { stateInKvm } from "../state_in_kvm.ts";

const GENERAL = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"] as const;
const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss"] as const;

/** Where the IDT is, and which of a gate's bytes says that it is present. */
const IDT = 0x6000;
const GATE_TYPE = 5;
const PRESENT = 0x80;

function caught(options: BootOptions): BootOptions {
  return { ...options, catchFaults: true } as BootOptions;
}

function gateType(vm: Machine, vector: number): number {
  return IDT + vector * (isLong(vm.mode) ? 16 : 8) + GATE_TYPE;
}

function hasIdt({ options: { mode } }: NamedBoot): boolean {
  return mode !== "real" && mode !== "unreal";
}

/** QEMU 7.2 has 16 times the vector in long mode's error codes, where processors have 8 times. */
function assertGateCode({ mode, fault }: Machine, vector: number): void {
  const codes = [vector * 8 + 2, ...isLong(mode) ? [vector * 16 + 2] : []];
  assert(codes.includes(fault!.errorCode!), `error code ${fault!.errorCode}`);
}

function isLong(mode: Machine["mode"]): boolean {
  return mode === "long" || mode === "compatibility";
}

function stateOf({ registers }: Machine): unknown {
  return {
    ...Object.fromEntries(GENERAL.map((name) => [name, registers[name]])),
    ...Object.fromEntries(SEGMENTS.map((name) => [name, { ...registers[name] }])),
    rflags: registers.rflags.value,
  };
}

/** The message of the error that running the guest throws, up to the state page. */
function lineOf(run: () => unknown): string {
  return assertThrows(run, GuestFaultError).message.split("\n")[0];
}

for (const mode of modes) {
  Deno.test(
    requires(
      needsOf(mode.options),
      `${mode.name}: each fault comes with the registers, the segments and the place of the program`,
    ),
    () => {
      using vm = boot(
        asm`
        mov eax, 0x11111111
        mov ebx, 0x22222222
        mov ecx, 0x33333300     ; cl is 0
        mov edx, 0x44444444
        mov esi, 0x55555555
        mov edi, 0x66666666
        mov ebp, 0x77777777
      invalid:
        ud2
      divide:
        div cl
      device:
        fnop
      interrupt:
        int3
      after:
        int 6
      end:
        out 0x80, al
      `,
        caught(mode.options),
      );
      const { cpl } = mode;
      vm.registers.cr0.ts = true;
      const before = vm.registers.rsp;
      expect(vm).toFault("#UD", { rip: "invalid", cpl });
      assertEquals(vm.registers.rip, vm.image.symbol("invalid"));
      const values = GENERAL.map((name) => vm.registers[name]);
      const expected = [1, 2, 3, 4, 5, 6, 7].map((digit) => BigInt(digit * 0x1111_1111));
      assertEquals(values, [...expected.with(2, 0x3333_3300n), before]);
      const state = stateOf(vm);
      assertEquals(checkGuestState(stateInKvm(vm)), []);
      assertEquals(checkVmrunState(stateInKvm(vm)), []);

      vm.registers.rip += 2n;
      expect(vm).toFault("#DE", { rip: "divide", cpl });
      // What DIV leaves in the flags is not defined.
      vm.registers.rflags.value = vm.fault!.rflags & ~0x8d5n;
      assertEquals(stateOf(vm), state);
      vm.registers.rip += 2n;
      expect(vm).toFault("#NM", { rip: "device", cpl });
      vm.registers.cr0.ts = false; // now the instruction can be tried again
      expect(vm).toFault("#BP", { rip: "after", cpl });
      assertEquals(vm.fault!.linear, vm.image.symbol("interrupt"));
      assertEquals(vm.registers.rip, vm.fault!.rip);
      assertEquals(stateOf(vm), state);
      if (cpl === 3) {
        expect(vm).toFault("#GP", { rip: "after" });
        assertGateCode(vm, 6);
        vm.registers.rip += 2n;
      } else {
        expect(vm).toFault("#UD", { software: true, rip: "end" });
      }
      assertEquals(stateOf(vm), state);
      expect(vm).toExit([portOut(0x80, 0x11)]);
    },
  );
}

for (const mode of modes.filter(hasIdt)) {
  Deno.test(
    requires(
      needsOf(mode.options),
      `${mode.name}: error codes name a gate, a selector, and a double fault has 0`,
    ),
    () => {
      using vm = boot(
        asm`
        ud2                     ; nested, an INT that touches the IDT first leaves its rip behind it
      gate:
        int 0x40
      missing:
        int 0x41
      selector:
        mov es, ax
      double:
        int 0x40
      `,
        caught({ ...mode.options, registers: { eax: 0x103 } } as BootOptions),
      );
      const { cpl } = mode;
      expect(vm).toFault("#UD");
      vm.registers.rip += 2n;
      expect(vm).toFault("#GP", { rip: "gate", cpl });
      assertGateCode(vm, 0x40);
      vm.registers.rip += 2n;
      // A gate of the right type, open to CPL 3, that is not present.
      vm.memory.setU8(gateType(vm, 0x41), vm.memory.u8(gateType(vm, 3)) & ~PRESENT);
      expect(vm).toFault("#NP", { rip: "missing", cpl });
      assertGateCode(vm, 0x41);
      vm.registers.rip += 2n;
      if (vm.mode !== "virtual8086") {
        expect(vm).toFault("#GP", { errorCode: 0x100, rip: "selector", cpl });
      }
      vm.registers.rip = "double";
      // #GP cannot be delivered now, and #NP is raised in its place: two of them are a #DF.
      const generalProtection = gateType(vm, 13);
      vm.memory.setU8(generalProtection, vm.memory.u8(generalProtection) & ~PRESENT);
      expect(vm).toFault("#DF", { errorCode: 0, cpl });
      assertEquals(checkGuestState(stateInKvm(vm)), []);
    },
  );
}

for (const mode of modes.filter((each) => hasIdt(each) && each.cpl === 0)) {
  Deno.test(
    requires(
      needsOf(mode.options),
      `${mode.name}: an INT through a vector with an error code has none`,
    ),
    () => {
      using vm = boot(
        asm`
      nop
      int 13
    behind:
      nop
    `,
        caught(mode.options),
      );
      const sp = vm.registers.rsp;
      expect(vm).toFault("#GP", { software: true, rip: "behind" });
      assertEquals([vm.fault!.errorCode, vm.registers.rsp], [undefined, sp]);
      assertEquals([vm.fault!.name, vm.fault!.vector], ["int 0xd", 13]);
      assertStringIncludes(vm.fault!.text, "a software interrupt (no #GP)");
    },
  );
}

Deno.test("real mode: #GP has no error code, and INT 0x10 is no #MF", () => {
  using vm = boot(
    asm`
      mov ax, 0xffff
      mov fs, ax
    limit:
      mov cx, [fs:0xffff]       ; half of the word is past the limit
      int 0x10
    after:
    `,
    { catchFaults: true },
  );
  expect(vm).toFault("#GP", { rip: "limit", cpl: 0 });
  assertEquals(vm.fault!.errorCode, undefined);
  vm.registers.rip += 5n;
  assertEquals(
    lineOf(() => vm.run()),
    "int 0x10 at 0x50a: a software interrupt (no #MF) for which the guest has no handler",
  );
  expect(vm).toHaveRegisters({ rip: "after", sp: 0x7c00 });
});

Deno.test("real mode: an INT through each of the 256 vectors is told, but those that the guest has set", () => {
  const own = [0x21, 0xff];
  using vm = boot(
    asm`
      mov word [0x21 * 4], handler
      mov word [0x21 * 4 + 2], 0
    %assign vector 0
    %rep 256
      int vector
    %assign vector vector + 1
    %endrep
      hlt
    handler:
      out 0x80, al
      iret
    `,
    { catchFaults: true, gates: { 0xff: "handler" } },
  );
  vm.ports.on(0x80, { write() {} });
  for (let vector = 0; vector < 256; vector++) {
    if (own.includes(vector)) continue;
    assertThrows(() => vm.run(), GuestFaultError);
    // INT 3 is a breakpoint, whichever of its two encodings it has.
    const name = vector === 3 ? "#BP" : `int 0x${vector.toString(16)}`;
    assertEquals([vm.fault!.vector, vm.fault!.name], [vector, name]);
    assertEquals(vm.fault!.software, vector !== 3);
    assertEquals([vm.registers.sp, vm.registers.cs.selector], [0x7c00, 0]);
  }
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.portOutput.bytes(0x80).length, own.length);
});

Deno.test("real mode: a run ends at the INT that nobody handles, and says so", () => {
  using vm = boot(
    asm`
      mov ah, 9
      int 0x21
      hlt
    `,
    { catchFaults: true },
  );
  const { message } = assertThrows(() => vm.run(), GuestFaultError);
  const text = "int 0x21 at 0x502: a software interrupt for which the guest has no handler";
  assertEquals(message.split("\n")[0], text);
  assertStringIncludes(message, "guest at 0x502, next 0x504 in real mode");
  assertStringIncludes(message, `1  ${text}`);
});

Deno.test("real mode: an interrupt from outside that nobody handles is told by its vector", () => {
  using vm = boot(
    asm`
      sti
    again:
      jmp again
    `,
    { catchFaults: true },
  );
  vm.inject.interrupt(0x70);
  const { fault } = assertThrows(() => vm.run(), GuestFaultError);
  assertEquals([fault.vector, fault.name, fault.software], [0x70, "interrupt 0x70", false]);
  assertEquals(
    fault.summary,
    "interrupt 0x70 at 0x501: an interrupt from outside for which the guest has no handler",
  );
});

Deno.test("real mode: a guest that is loaded over vectors from 32 on has its own", () => {
  using vm = boot(
    asm`
      dw handler, 0             ; the entry of vector 0x40
    _start:
      int 0x40
      int 0x60
    handler:
      out 0x80, al
      iret
    `,
    { catchFaults: true, origin: 0x100, memory: "4K" },
  );
  vm.ports.on(0x80, { write() {} });
  const { fault } = assertThrows(() => vm.run(), GuestFaultError);
  assertEquals([fault.name, vm.portOutput.bytes(0x80).length], ["int 0x60", 1]);
});

Deno.test("real mode at another CS: the place is linear, and labels are offsets", () => {
  using vm = boot(
    asm`
      nop
    here:
      ud2
    `,
    { cs: 0x1234, ip: 8, ss: 0x2000, sp: 0x10, catchFaults: true },
  );
  expect(vm).toFault("#UD", { rip: "here" });
  assertEquals([vm.fault!.linear, vm.fault!.cs, vm.fault!.ss], [0x12349n, 0x1234, 0x2000]);
  expect(vm).toHaveRegisters({ cs: 0x1234, "cs.base": 0x12340, sp: 0x10, ip: 9 });
});

Deno.test("virtual-8086 mode: all segment registers come back, and the stack", () => {
  const segments = { cs: 0x1000, ds: 0x100, es: 0x200, fs: 0xffff, gs: 0x300, ss: 0x900 };
  using vm = boot(asm`hlt`, {
    mode: "virtual8086",
    ip: 0,
    sp: 0x800,
    ...segments,
    catchFaults: true,
  });
  const state = stateOf(vm);
  expect(vm).toFault("#GP", { errorCode: 0, cpl: 3 });
  assertEquals(stateOf(vm), state);
  expect(vm).toFault("#GP", { errorCode: 0, cpl: 3 });
});

Deno.test("in long mode a fault is told whatever the stack is; elsewhere the machine shuts down", () => {
  using long = boot(
    asm`
      bits 64
      mov rsp, 0x40000000
    bad:
      push rax
    `,
    { catchFaults: true, mappings: [{ linear: 0x3ff0_0000, size: 0x10_0000, present: false }] },
  );
  expect(long).toFault("#PF", { errorCode: 0x2, rip: "bad", cr2: 0x3fff_fff8 });
  expect(long).toHaveRegisters({ rsp: 0x4000_0000 });
  using paged = boot(asm`push eax`, {
    mode: "paged",
    stack: 0x40_0000,
    mappings: [{ linear: 0, size: 0x20_0000 }, {
      linear: 0x3f_0000,
      size: 0x1_0000,
      present: false,
    }],
    catchFaults: true,
  });
  assertEquals(paged.run({ until: "shutdown" }).reason, "SHUTDOWN");
});

Deno.test("a single step that the guest asks for is a #DB, told by DR6", () => {
  using vm = boot(
    asm`
      bits 32
      pushfd
      or dword [esp], 0x100
      popfd
      nop
    after:
      hlt
    `,
    { catchFaults: true },
  );
  expect(vm).toFault("#DB", { rip: "after" });
  assertEquals(vm.fault!.text, "#DB at 0x1000a (`hlt`): debug, single step");
  expect(vm).toHaveFlags({ tf: true });
});

Deno.test(
  requires(
    { singleStep: true },
    "stepping over an instruction that faults is a GuestFaultError, and TF is the harness's own",
  ),
  () => {
    for (const mode of modes.filter(({ options }) => !requires(needsOf(options)).ignore)) {
      using vm = boot(
        asm`
      nop
    bad:
      ud2
      out 0x80, al
    `,
        caught(mode.options),
      );
      assertEquals(vm.step().reason, "DEBUG");
      const error = assertThrows(() => vm.step(), GuestFaultError);
      assertEquals(error.fault, vm.fault);
      assertEquals([vm.fault!.name, vm.fault!.isAt("bad")], ["#UD", true]);
      expect(vm).toHaveFlags({ tf: false });
      vm.registers.rip += 2n;
      expect(vm).toExit([portOut(0x80)]);
    }
  },
);
