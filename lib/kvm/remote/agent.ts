import { SA_RESTART, TIMER_SIGNAL } from "../../ffi/thread_timer.ts";
import { KVM_DIRTY_GFN_F } from "../abi/constants.ts";
import { IOCTLS } from "../abi/ioctls.ts";
import { kvm_dirty_gfn } from "../abi/structs/memory.ts";
import { RUN } from "./agent_run.ts";
import {
  CALL,
  DONE_PORT,
  OWN_CALL,
  PORTS,
  SIGNAL_SIZE,
  SYSTEM_CALL,
  WINDOW,
  WINDOW_IN_AGENT,
  WINDOW_SIZE,
} from "./window.ts";

/**
 * How often the agent looks for the next request before it waits for the bell: about 100 µs, the time that a test's
 * handler takes. Longer, it would take the processor from the test on a busy host.
 */
const SPINS = 20_000;

/** The numbers of system calls by name, for NASM. */
function systemCalls(): string {
  return Object.entries(SYSTEM_CALL)
    .map(([name, number]) => `%define SYS_${name.toUpperCase()} ${number}`).join("\n");
}

/** How many descriptors are closed at once: as many VMs end while one is made and runs, and some more. */
const CLOSERS = 8;
const STACK_SIZE = 4096;

/**
 * NASM source of the agent, without the header of an ELF file: the only program of the emulated machine, its `/init`.
 * It loads the kernel's modules, maps the window, and then carries out what the process on the host writes there:
 * system calls, with numbers, arguments and results as the kernel has them, and a few calls of its own. It knows
 * nothing of machines and guests but how `kvm_run` is copied.
 *
 * A step of its start that fails ends it with that step's number, which the kernel's panic shows on the console.
 *
 * @param modules The paths of the kernel modules, in the order in which they are loaded.
 */
export function agentSource(modules: readonly string[]): string {
  return `
${systemCalls()}
%define AT_EMPTY_PATH 0x1000
%define O_RDWR 2
%define SA_RESTORER 0x04000000
%define THREAD 0x10f00      ; CLONE_VM, FS, FILES, SIGHAND and THREAD
%define PROT_READ_WRITE 3
%define MAP_SHARED_FIXED 0x11

; A system call that must succeed: the step's number, the call's.
%macro must 2
    mov ebp, %1
    mov eax, %2
    call checked
%endmacro

checked:
    syscall
    test rax, rax
    js failed
    ret
failed:
    mov edi, ebp
    mov eax, SYS_EXIT
    syscall

start:
    mov edi, devtmpfs
    mov esi, dev
    mov edx, devtmpfs
    xor r10d, r10d
    xor r8d, r8d
    must 1, SYS_MOUNT

    mov ebx, modules
.module:
    cmp byte [rbx], 0
    je .loaded
    mov edi, ebx
    xor esi, esi
    must 2, SYS_OPEN
    mov r12d, eax
    mov edi, eax
    mov esi, nothing
    xor edx, edx
    must 3, SYS_FINIT_MODULE
    mov edi, r12d
    mov eax, SYS_CLOSE
    syscall
.name:
    inc ebx
    cmp byte [rbx - 1], 0
    jne .name
    jmp .module

.loaded:
    ; Two VMs are held open for good, one with interrupt controllers: with the first VM and the first vCPU of either kind
    ; Linux patches its own code, and again when the last one goes, which takes its time and which QEMU before 8.1 gets wrong.
    mov edi, kvm
    mov esi, O_RDWR
    must 4, SYS_OPEN
    mov r12d, eax
    call hold
    call hold_vcpu
    call hold
    mov edi, r13d
    mov esi, ${IOCTLS.KVM_CREATE_IRQCHIP.number}
    must 5, SYS_IOCTL
    call hold_vcpu

    mov r12d, window
    call open_device
    mov r8d, eax
    mov rdi, ${WINDOW_IN_AGENT}
    mov esi, ${WINDOW_SIZE}
    mov edx, PROT_READ_WRITE
    mov r10d, MAP_SHARED_FIXED
    xor r9d, r9d
    must 7, SYS_MMAP

    mov edi, ${TIMER_SIGNAL}
    mov esi, action
    xor edx, edx
    mov r10d, 8
    must 8, SYS_RT_SIGACTION

    mov edi, 3
    must 9, SYS_IOPL

    mov r12d, bell
    call open_device
    mov [bell_descriptor], eax
    mov r12d, signal
    call open_device
    mov [signal_descriptor], eax
    mov edi, closing
    xor esi, esi
    must 13, SYS_PIPE2
    ; Not by a call: a thread's stack has nothing to return to.
    mov ebp, 14
    mov r12d, stacks + ${STACK_SIZE}
.thread:
    mov edi, THREAD
    mov esi, r12d
    mov eax, SYS_CLONE
    syscall
    test eax, eax
    js failed
    jz .started
    add r12d, ${STACK_SIZE}
    cmp r12d, stacks_end
    jbe .thread
    jmp .map
.started:
    cmp esp, stacks + ${STACK_SIZE}
    je signals
    jmp closer
.map:

    mov r15, ${WINDOW_IN_AGENT}
    xor r14d, r14d              ; the latest request: a resumed machine has a window of zeros
    mov dword [r15 + ${WINDOW.waiting}], 1
    jmp answer

; The device whose path is at r12: it is there a moment after its driver.
open_device:
    mov ebx, 1000
.try:
    mov edi, r12d
    mov esi, O_RDWR
    mov eax, SYS_OPEN
    syscall
    test eax, eax
    jns .open
    mov ebp, 10
    dec ebx
    jz failed
    call pause
    jmp .try
.open:
    ret

; A thread that signals eventfds while the other is in the middle of something.
signals:
    mov edi, [signal_descriptor]
    mov esi, message
    mov edx, ${SIGNAL_SIZE}
    mov eax, SYS_READ
    syscall
    cmp eax, ${SIGNAL_SIZE}
    jne .nothing
    mov edi, [message]
    mov esi, message + 8
    mov edx, 8
    mov eax, SYS_WRITE
    syscall
    jmp signals
.nothing:
    call pause
    jmp signals

; A thread that closes descriptors.
closer:
    push rax
.next:
    mov edi, [closing]
    mov rsi, rsp
    mov edx, 4
    mov eax, SYS_READ
    syscall
    cmp eax, 4
    jne .next
    mov edi, [rsp]
    mov eax, SYS_CLOSE
    syscall
    jmp .next

; A VM, in r13.
hold:
    mov edi, r12d
    mov esi, ${IOCTLS.KVM_CREATE_VM.number}
    xor edx, edx
    must 11, SYS_IOCTL
    mov r13d, eax
    ret
hold_vcpu:
    mov edi, r13d
    mov esi, ${IOCTLS.KVM_CREATE_VCPU.number}
    xor edx, edx
    must 12, SYS_IOCTL
    ret

pause:
    mov edi, interval
    xor esi, esi
    mov eax, SYS_NANOSLEEP
    syscall
    ret

; xchg, because what is written must be seen before what is read then.
idle:
    mov ecx, ${SPINS}
.look:
    mov eax, [r15 + ${WINDOW.request}]
    cmp eax, r14d
    jne work
    dec ecx
    jnz .look
    mov eax, 1
    xchg eax, [r15 + ${WINDOW.asleep}]
    mov eax, [r15 + ${WINDOW.request}]
    cmp eax, r14d
    jne .awake
    mov edi, [bell_descriptor]
    mov esi, rung
    mov edx, 1
    mov eax, SYS_READ
    syscall
    test eax, eax
    jnz .awake
    call pause                  ; nobody holds the other end: the machine's image is being made
.awake:
    mov dword [r15 + ${WINDOW.asleep}], 0
    jmp idle

work:
    mov r14d, eax
    mov r13d, [r15 + ${WINDOW.calls}]
    lea rbx, [r15 + ${WINDOW.callList}]
.call:
    test r13d, r13d
    jz answer
    mov rax, [rbx + ${CALL.number}]
    mov rdi, [rbx + ${CALL.argument}]
    mov rsi, [rbx + ${CALL.argument + 8}]
    mov rdx, [rbx + ${CALL.argument + 16}]
    cmp eax, ${OWN_CALL.copy}
    jae .own
    mov r10, [rbx + ${CALL.argument + 24}]
    mov r8, [rbx + ${CALL.argument + 32}]
    mov r9, [rbx + ${CALL.argument + 40}]
    syscall
.result:
    mov [rbx + ${CALL.result}], rax
    add rbx, ${CALL.size}
    dec r13d
    jmp .call
.own:
    mov ecx, .result
    push rcx
    jmp [own_calls + (rax - ${OWN_CALL.copy}) * 8]

answer:
    mov eax, r14d
    xchg eax, [r15 + ${WINDOW.done}]
    cmp dword [r15 + ${WINDOW.waiting}], 0
    je idle
    mov edx, ${DONE_PORT}
    mov al, 1
    out dx, al
    jmp idle

; rdx bytes from rsi to rdi
copy:
    test rdx, rdx
    jz .end
.word:
    mov rax, [rsi + rdx - 8]
    mov [rdi + rdx - 8], rax
    sub rdx, 8
    jnz .word
.end:
    xor eax, eax
    ret

; rsi bytes at rdi
zero:
    xor eax, eax
.word:
    mov [rdi + rsi - 8], rax
    sub rsi, 8
    jnz .word
    ret

; The entries of the ring at rdi that are marked in its copy at rsi, of rdx bytes
harvest:
    mov eax, [rsi + rdx - ${kvm_dirty_gfn.size} + ${kvm_dirty_gfn.offsetOf("flags")}]
    test eax, ${KVM_DIRTY_GFN_F.RESET}
    jz .next
    mov [rdi + rdx - ${kvm_dirty_gfn.size} + ${kvm_dirty_gfn.offsetOf("flags")}], eax
.next:
    sub rdx, ${kvm_dirty_gfn.size}
    jnz harvest
    xor eax, eax
    ret

${RUN}
; The program of descriptor edi, with its output to esi, and the arguments at rdx
execute:
    mov r12d, edi
    mov ebp, esi
    push rdx
    mov eax, SYS_FORK
    syscall
    pop rdx
    test eax, eax
    jz .child
    js .end
    mov edi, eax
    mov esi, status
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_WAIT4
    syscall
    mov eax, [status]
.end:
    cdqe
    ret
.child:
    push rdx
    mov edi, ebp
    mov esi, 1
    mov eax, SYS_DUP2
    syscall
    mov edi, ebp
    mov esi, 2
    mov eax, SYS_DUP2
    syscall
    mov edi, r12d
    mov esi, nothing
    pop rdx
    mov r10d, no_environment
    mov r8d, AT_EMPTY_PATH
    mov eax, SYS_EXECVEAT
    syscall
    mov edi, 127
    mov eax, SYS_EXIT
    syscall

; The descriptor edi
close_later:
    mov [to_close], edi
    mov edi, [closing + 4]
    mov esi, to_close
    mov edx, 4
    mov eax, SYS_WRITE
    syscall
    ret

restore:
    mov eax, SYS_RT_SIGRETURN
    syscall
handle:
    ret

devtmpfs: db "devtmpfs", 0
dev: db "/dev"
nothing: db 0
kvm: db "/dev/kvm", 0
window: db "/dev/dax0.0", 0
bell: db "${PORTS.bell.device}", 0
signal: db "${PORTS.signal.device}", 0
modules:
${modules.map((path) => `    db "${path}", 0`).join("\n")}
    db 0
align 8
own_calls: dq copy, zero, run, harvest, execute, close_later
no_environment: dq 0
action: dq handle, ${SA_RESTART} | SA_RESTORER, restore, 0
interval: dq 0, 10000000
bell_descriptor: dd 0
signal_descriptor: dd 0
status: dd 0
closing: dd 0, 0
to_close: dd 0
rung: db 0
file_end:
absolute $
alignb 16
message: resb ${SIGNAL_SIZE}
stacks: resb ${(CLOSERS + 1) * STACK_SIZE}
stacks_end:
memory_end:
`;
}
