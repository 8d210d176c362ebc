import { run } from "../../lib/cli/run.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { firmwareFile } from "../firmware/firmware_file.ts";
import { AT_1_MIB, flat, linked } from "../guest/loaders/linked.ts";

/** Runs the command on a file, and returns its exit code and what it showed. */
async function runFile(file: Uint8Array, ...args: string[]) {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-run-" });
  try {
    Deno.writeFileSync(`${folder}/guest`, file);
    Deno.writeTextFileSync(`${folder}/extra`, "the extra file");
    let text = "";
    const lines: string[] = [];
    const code = await run(
      [`${folder}/guest`, ...args.map((arg) => arg.replace("EXTRA", `${folder}/extra`))],
      {
        write: (bytes) => text += new TextDecoder().decode(bytes),
        writeError: (line) => lines.push(line),
      },
    );
    return { code, text, lines, errors: lines.join("\n") };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** A multiboot kernel: writes its command line to COM1, and does something then. */
const kernel = (end: string) =>
  linked(
    `
  bits 32
  section .header
  dd 0x1badb002, 0, -0x1badb002
  section .text
  global _start
_start:
  mov esi, [ebx + 16]
  mov edx, 0x3f8
.next:
  lodsb
  test al, al
  jz .end
  out dx, al
  jmp .next
.end:
  ${end}
`,
    { format: "elf32", script: AT_1_MIB },
  );

Deno.test("run shows what a kernel writes, and ends well at its HLT", async () => {
  const { code, text, errors } = await runFile(kernel("cli\n  hlt"), "--append", "hello there");
  assertEquals([code, text], [0, "hello there"]);
  assertMatch(errors, /multiboot kernel \(ELF, 32 bits\), 0x100000–0x[0-9a-f]+, starts at/);
  assertStringIncludes(errors, "the guest ended by HLT");
});

Deno.test("run's exit code is the status of the exit port, as isa-debug-exit has it", async () => {
  for (const [status, code] of [[0, 1], [1, 3], [0x10, 0x21]]) {
    const result = await runFile(kernel(`mov al, ${status}\n  out 0xf4, al\n  hlt`));
    assertEquals(result.code, code);
    assertStringIncludes(result.errors, `the guest ended with the status ${status}`);
  }
});

Deno.test("run ends well as soon as the text comes, of a guest that never ends, and badly without it", async () => {
  const spins = kernel("jmp $");
  const seen = await runFile(spins, "--append", "all tests passed", "--until", "passed");
  assertEquals([seen.code, seen.text], [0, "all tests passed"]);
  const other = await runFile(kernel("cli\n  hlt"), "--append", "panic", "--until", "passed");
  assertEquals(other.code, 1);
  assertStringIncludes(other.errors, 'did not write "passed"');
  const late = await runFile(kernel("cli\n  hlt"), "--append", "passed", "--until", "passed");
  assertEquals(late.code, 0);
  const over = await runFile(spins, "--timeout", "1", "--until", "passed");
  assertEquals(over.code, 124);
  assertMatch(over.errors, /the time is over \(1 s\).*\nCPU 0 at 0x1000[0-9a-f]+/);
  const waits = await runFile(kernel("sti\n.wait: hlt\n  jmp .wait"), "--timeout", "1");
  assertEquals(waits.code, 124);
});

Deno.test("run tells of a guest that ends badly", async () => {
  const fault = await runFile(kernel("ud2"));
  assertEquals(fault.code, 1);
  assertStringIncludes(fault.errors, "SHUTDOWN");
  const reset = await runFile(kernel("mov al, 0xfe\n  out 0x64, al\n  cli\n  hlt"));
  assertEquals(reset.code, 1);
  assertStringIncludes(reset.errors, "The guest reset the machine");
});

Deno.test("run shows every exit where it is asked to", async () => {
  const { code, lines } = await runFile(kernel("cli\n  hlt"), "--append", "x", "--trace");
  assertEquals(code, 0);
  assert(
    lines.some((line) => line.endsWith(' 1  IO out 0x3f8 byte 0x78 "x"  COM1')),
    lines.join("\n"),
  );
  assert(lines.some((line) => line.includes(" 2  HLT")));
});

Deno.test("run gives a kernel its modules, a boot sector its disk, and other images their options", async () => {
  const module = kernel(
    "mov ebx, [ebx + 24]\n mov esi, [ebx]\n mov ecx, 14\n rep outsb\n cli\n hlt",
  );
  const withModule = await runFile(module, "--module", "EXTRA");
  assertEquals([withModule.code, withModule.text], [0, "the extra file"]);

  const disk = flat(`
    org 0x7c00
    mov dx, 0x1f6
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, 1
    out dx, al
    mov al, 0
    inc dx
    out dx, al
    inc dx
    out dx, al
    inc dx
    out dx, al
    mov dx, 0x1f7
    mov al, 0x20
    out dx, al
  .wait:
    in al, dx
    test al, 8
    jz .wait
    mov dx, 0x1f0
    mov cx, 256
    mov di, 0x8000
    rep insw
    mov dx, 0x3f8
    mov si, 0x8000
    mov cx, 14
    rep outsb
    cli
    hlt
    times 510 - ($ - $$) db 0
    dw 0xaa55
  `);
  const withDisk = await runFile(disk, "--disk", "EXTRA");
  assertEquals([withDisk.code, withDisk.text], [0, "the extra file"]);

  const long = flat(
    "bits 64\norg 0x200000\nmov rax, cr4\nmov al, 'L'\nmov dx, 0xe9\nout dx, al\ncli\nhlt",
  );
  const placed = await runFile(long, "--origin", "0x200000", "--mode", "long", "--memory", "4M");
  assertEquals([placed.code, placed.text], [0, "L"]);
});

/** Prints by its BIOS what it reads from the second sector of its own disk by its BIOS. */
const reader = flat(`
  org 0x7c00
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  mov ax, 0x0201
  mov cx, 2
  mov dh, 0
  mov bx, 0x8000
  int 0x13
  mov si, 0x8000
.next:
  lodsb
  test al, al
  jz .end
  mov ah, 0x0e
  mov bx, 7
  int 0x10
  jmp .next
.end:
  cli
  hlt
  times 510 - ($ - $$) db 0
  dw 0xaa55
  db "the second sector", 0
  times 1440 * 1024 - ($ - $$) db 0
`);

Deno.test("run gives a boot sector a BIOS, with its own file as the disk that it comes from", async () => {
  const floppy = await runFile(reader);
  assertEquals([floppy.code, floppy.text], [0, "the second sector"]);
  const disk = await runFile(reader.slice(0, 1024), "--until", "second");
  assertEquals(disk.code, 0);
  assertStringIncludes(disk.text, "the second");
});

Deno.test("run shows the screen, and finds the text on it that ends the run", async () => {
  const writes = (end: string) =>
    flat(`
      bits 32
      org 0x100000
      mov dword [0xb8000], 0x07690748   ; "Hi"
      ${end}
    `);
  const options = ["--origin", "0x100000", "--mode", "protected"];
  const shown = await runFile(writes("cli\n hlt"), ...options);
  assertEquals([shown.code, shown.text], [0, "Hi\n"]);
  const spins = await runFile(writes("jmp $"), ...options, "--until", "Hi");
  assertEquals([spins.code, spins.text], [0, "Hi\n"]);
});

Deno.test("run turns the power off where a kernel finds in ACPI's tables how", async () => {
  // PM1a_CNT: SLP_TYP 0 and SLP_EN.
  const off = kernel("mov dx, 0x604\n mov ax, 0x2000\n out dx, ax\n jmp $");
  const { code, errors } = await runFile(off);
  assertEquals(code, 0);
  assertStringIncludes(errors, "the guest turned the power off");
  const looks = kernel(
    "mov esi, 0xe0000\n mov edx, 0x3f8\n mov ecx, 8\n rep outsb\n cli\n hlt",
  );
  assertEquals((await runFile(looks)).text, "RSD PTR ");
});

/** Ends with a quarter of its drive's number as its status. */
const BOOTS = flat(`
  org 0x7c00
  mov al, dl
  shr al, 2
  out 0xf4, al
  times 510 - ($ - $$) db 0
  dw 0xaa55
`);

Deno.test("run boots SeaBIOS from its ROM, which boots the disk", async () => {
  const file = await firmwareFile("bios-256k.bin");
  const none = await runFile(file, "--until", "No bootable device");
  assertEquals(none.code, 0, none.text);
  assertStringIncludes(none.text, "Found 1 cpu(s)");
  assertStringIncludes(none.text, "0000000000100000 - 0000000001ffe000 = 1 RAM");
  const disk = Deno.makeTempFileSync({ prefix: "vmexit-disk-" });
  try {
    Deno.writeFileSync(disk, BOOTS);
    const { code, text } = await runFile(file, "--disk", disk);
    assertEquals(code, 0x80 / 4 << 1 | 1, text);
    assertStringIncludes(text, "Booting from 0000:7c00");
  } finally {
    Deno.removeSync(disk);
  }
});

Deno.test("run starts a kernel's 16-bit set-up code with a BIOS", async () => {
  const file = await firmwareFile("ipxe.lkrn");
  const { code, text, errors } = await runFile(file, "--until", "iPXE initialising devices...");
  assertEquals(code, 0, text);
  assertStringIncludes(errors, "Linux kernel (boot protocol 2.07, 16 bits)");
});

Deno.test("run refuses what it does not understand", async () => {
  const file = kernel("hlt");
  const refused = async (message: string, ...args: string[]) => {
    const error = await assertRejects(() => runFile(file, ...args), Error, message);
    assert(error instanceof TypeError || error instanceof RangeError);
  };
  await refused("--colour", "--colour");
  await refused("type vmexit run FILE", "another");
  await refused("Cannot use --cpus none", "--cpus", "none");
  await refused("Cannot use --timeout 0", "--timeout", "0");
  await refused('Cannot read "64 MB" as a size', "--memory", "64 MB");
  await refused("in mode", "--mode", "long");
  await refused('as "bzimage"', "--kind", "bzimage");
  await refused("takes commandLine, modules", "--initrd", "EXTRA");
  await refused("an empty text", "--until", "");
  await assertRejects(() => run(["/no/such/file"]), Deno.errors.NotFound);
});
