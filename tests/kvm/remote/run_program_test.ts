import { asm } from "@vmexit/vmexit";
import { emulatedMachine, remoteLibc } from "../../../lib/kvm/remote/kvm_choice.ts";
import { runProgram } from "../../../lib/kvm/remote/run_program.ts";
import { assertEquals } from "@std/assert";

const ignore = emulatedMachine() !== "qemu-svm";

const ORIGIN = 0x40_0000;

/** A static ELF program, which writes its arguments to standard output, and ends with their number. */
const program = asm`
    bits 64
    LOAD equ 1
    READ_WRITE_EXECUTE equ 7
    SYS_WRITE equ 1
    SYS_EXIT equ 60
    db 0x7f, "ELF", 2, 1, 1, 0
    dq 0
    dw 2, 62                        ; ET_EXEC, EM_X86_64
    dd 1
    dq start, segments - $$, 0
    dd 0
    dw 64, 56, 1, 64, 0, 0
  segments:
    dd LOAD, READ_WRITE_EXECUTE
    dq 0, $$, $$, end - $$, end - $$, 0x1000
  start:
    lea r12, [rsp + 8]
  next:
    mov rsi, [r12]
    test rsi, rsi
    jz done
    mov rdi, rsi
    xor eax, eax
    mov rcx, -1
    cld
    repne scasb
    mov byte [rdi - 1], 0x0a
    mov rdx, rdi
    sub rdx, rsi
    mov edi, 1
    mov eax, SYS_WRITE
    syscall
    add r12, 8
    jmp next
  done:
    mov edi, [rsp]
    mov eax, SYS_EXIT
    syscall
  end:
`;

Deno.test({
  name: "a program in the machine has its arguments, and what it writes and ends with comes back",
  ignore,
  fn() {
    const args = ["name", "", "a longer argument", "ü"];
    const { status, output } = runProgram(
      remoteLibc()!,
      program.assemble({ origin: ORIGIN }).bytes,
      args,
    );
    assertEquals([output, status], [args.map((arg) => `${arg}\n`).join(""), args.length << 8]);
  },
});
