import { asm, boot, expect, hostileBoot } from "@vmexit/vmexit";
import { Bios, Disk, Pic, TestClock, TextScreen } from "@vmexit/vmexit/devices";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

const reported = (name: string, define: Record<string, number> = {}) =>
  asm.file(`../../../guests/reported/${name}.asm`, { define });

const FIXED = { FIXED: 1 };

Deno.test("a boot sector that takes DS for 0 fails on some firmware, and the smallest state is named", () => {
  const run = (define: Record<string, number>) => () =>
    hostileBoot(({ options }) => {
      using vm = boot(reported("registers_at_boot", define), options);
      vm.run();
      expect(vm).toHaveSerial("1OK\n");
    });
  const { message } = assertThrows(run({}), Error);
  assertMatch(message, /^Firmware state: DS is 0x40\.\n\nexpect\(vm\)\.toHaveSerial/);
  run(FIXED)();
});

Deno.test("the BIOS's function 08h returns DL, which the loader takes for its drive", () => {
  const loader = (define: Record<string, number>) =>
    asm({ define })`
      org 0x7c00
      jmp 0:start
    start:
      xor ax, ax
      mov ds, ax
      mov es, ax
      mov ss, ax
      mov sp, 0x7c00
    %ifdef FIXED
      push dx
    %endif
      mov ah, 8
      int 0x13
    %ifdef FIXED
      pop dx
    %endif
      xor ax, ax
      mov es, ax
      mov ax, 0x0201
      mov cx, 2
      mov dh, 0
      mov bx, 0x8000
      int 0x13
      hlt
    `;
  const run = (define: Record<string, number>) => {
    const bios = new Bios({ disks: { 0x80: new Disk(2048) } });
    using vm = boot(loader(define), { devices: [bios], registers: { dl: 0x80 } });
    vm.run();
    return bios.calls.map(({ name, registers, ax }) => [name, registers.dx & 0xff, ax >> 8]);
  };
  assertEquals(run({}), [["INT 13h AH=08h", 0x80, 0], ["INT 13h AH=02h", 0x01, 0x80]]);
  assertEquals(run(FIXED), [["INT 13h AH=08h", 0x80, 0], ["INT 13h AH=02h", 0x80, 0]]);
});

Deno.test("the same by the reported guest, whose BIOS is its own", () => {
  const serial = (define: Record<string, number>) => {
    using vm = boot(reported("int13_clobbers_dl", define), { memory: "8M" });
    vm.run();
    return vm.serial.text;
  };
  assertEquals([serial({}), serial(FIXED)], ["1!\x01", "12OK\n"]);
});

Deno.test("a BIOS that returns with interrupts on ends a guest that has no IDT yet", () => {
  const end = (define: Record<string, number>) => {
    using vm = boot(reported("interrupts_on_after_bios", define), {
      mode: "real",
      memory: "8M",
      timeout: 60_000,
    });
    try {
      for (const _ of vm.exits({ pending: define.FIXED === 1 })) {
        if (vm.serial.text === "12" && vm.log.total === 2) vm.inject.interrupt(8);
      }
      return vm.serial.text;
    } catch (error) {
      return (error as Error).message.split("\n")[0];
    }
  };
  assertStringIncludes(end({}), "The guest shut down");
  assertEquals(end(FIXED), "123OK\n");
});

Deno.test("an interrupt of the second PIC that the first alone has acknowledged comes once", () => {
  const serial = (define: Record<string, number>) => {
    let beats = 0;
    const line = { set: (_asserted: boolean) => {} };
    const clock = {
      name: "clock",
      attach(board: Parameters<Pic["attach"]>[0]) {
        Object.assign(line, board.interruptLine(8));
        const beat = () => {
          line.set(true);
          line.set(false);
          if (++beats < 2) board.timers.at(board.timers.now + 20e6, beat);
        };
        board.timers.at(20e6, beat);
      },
    };
    using vm = boot(reported("second_pic_without_eoi", define), {
      memory: "8M",
      clock: new TestClock(),
      devices: [new Pic(), clock],
    });
    vm.run();
    return vm.serial.text;
  };
  assertEquals([serial({}), serial(FIXED)], ["12i", "12iiOK\n"]);
});

Deno.test("deviations come by themselves and together, by a seed, and quirks with them", () => {
  const texts: string[] = [];
  hostileBoot(({ text, options: _ }) => void texts.push(text), { count: 3, seed: 5 });
  assertEquals(texts[0], "all registers are zero but DL");
  assertEquals(texts.filter((text) => text === "DF is set").length, 1);
  assertEquals(texts.slice(-3).every((text) => text.includes(", ")), true);
  const again: string[] = [];
  hostileBoot(({ text, options: _ }) => void again.push(text), { count: 3, seed: 5 });
  assertEquals(again, texts);
});

Deno.test("a boot sector that is robust prints by the BIOS in all of them", () => {
  const sector = asm`
    jmp 0:start
  start:
    xor ax, ax
    mov ss, ax
    mov sp, 0x7c00
    mov ds, ax
    cld
    mov si, text
  next:
    lodsb
    test al, al
    jz done
    push si
    mov ah, 0x0e
    xor bx, bx
    int 0x10
    pop si
    jmp next
  done:
    cli
    hlt
  text: db "ready", 0
  `;
  let runs = 0;
  hostileBoot(({ options, quirks }) => {
    const screen = new TextScreen();
    using vm = boot(sector, { ...options, devices: [screen, new Bios({ screen, quirks })] });
    vm.run();
    expect(vm).toHaveScreen(["ready"]);
    runs++;
  });
  assertEquals(runs, 1 + 24 + 32);
});

Deno.test("bodies that would say nothing are refused", () => {
  assertThrows(() => hostileBoot(5 as never), TypeError, "give a function");
  assertThrows(() => hostileBoot((async () => {}) as never), TypeError, "async body");
  assertThrows(() => hostileBoot(() => {}, { count: -1 }), RangeError, "count -1");
  assertThrows(() => hostileBoot(() => {}, { sed: 3 } as never), TypeError, "seed");
  assertThrows(() => hostileBoot(() => {}), TypeError, "has not asked for `options`");
});

Deno.test("a body that fails once alone fails with its own error", () => {
  let runs = 0;
  const flaky = ({ options: _ }: { options: unknown }) => {
    if (++runs === 2) throw new Error("once");
  };
  assertThrows(() => hostileBoot(flaky), Error, "once");
});
