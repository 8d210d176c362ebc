import { KVM, KVM_EXIT_IO } from "../abi/constants.ts";
import { EXIT_REASON } from "../abi/exit_reasons.ts";
import { IOCTLS } from "../abi/ioctls.ts";
import { kvm_run, kvm_sync_regs } from "../abi/structs/run.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";

/** The part of `kvm_run` that is read and written by whoever runs a guest: the head, and the exits. */
const HEAD = kvm_run.offsetOf("io");
const EXITS_END = kvm_run.offsetOf("kvm_valid_regs");
/** The end of what an IO exit has. */
const IO_END = kvm_run.offsetOf("io.data_offset") + 8;
/** The registers that KVM takes from the page, with the words that say which. */
const LEFT_END = kvm_run.offsetOf("s.regs") + kvm_sync_regs.size;
const DIRTY_REGISTERS = kvm_run.offsetOf("kvm_dirty_regs");
const COALESCED_RING = KVM.COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE;

/** NASM source of the agent's `run`: `KVM_RUN` on rdi, around which `kvm_run` at rsi and its copy at rdx are made alike. */
export const RUN =
  `; How many bytes of data the port exit at rbp has, in whole words, in rdx; where they are, in rax
port_data:
    movzx edx, byte [rbp + ${kvm_run.offsetOf("io.size")}]
    imul edx, [rbp + ${kvm_run.offsetOf("io.count")}]
    add edx, 7
    and edx, -8
    mov eax, [rbp + ${kvm_run.offsetOf("io.data_offset")}]
    ret

run:
    mov r11d, edi
    mov rbp, rsi                ; kvm_run
    mov r12, rdx                ; its copy
    mov edx, ${EXITS_END}
    cmp dword [rbp + ${kvm_run.offsetOf("exit_reason")}], ${EXIT_REASON.IO}
    jne .answered
    mov edx, ${HEAD}
    cmp byte [rbp + ${kvm_run.offsetOf("io.direction")}], ${KVM_EXIT_IO.IN}
    jne .answered
    call port_data
    lea rsi, [r12 + rax]
    lea rdi, [rbp + rax]
    call copy
    mov edx, ${HEAD}
.answered:
    mov rsi, r12
    mov rdi, rbp
    call copy
    mov eax, [r12 + ${COALESCED_RING}]
    mov [rbp + ${COALESCED_RING}], eax
    cmp dword [r12 + ${DIRTY_REGISTERS}], 0
    je .ready
    lea rsi, [r12 + ${EXITS_END}]
    lea rdi, [rbp + ${EXITS_END}]
    mov edx, ${LEFT_END - EXITS_END}
    call copy
    mov dword [r12 + ${DIRTY_REGISTERS}], 0
.ready:

    mov edi, r11d
    mov esi, ${IOCTLS.KVM_RUN.number}
    xor edx, edx
    mov eax, SYS_IOCTL
    syscall
    push rax

    mov edx, ${EXITS_END}
    cmp dword [rbp + ${kvm_run.offsetOf("exit_reason")}], ${EXIT_REASON.IO}
    jne .left
    call port_data
    lea rsi, [rbp + rax]
    lea rdi, [r12 + rax]
    call copy
    mov edx, ${IO_END}
.left:
    mov rsi, rbp
    mov rdi, r12
    call copy
    lea rsi, [rbp + ${COALESCED_RING}]
    lea rdi, [r12 + ${COALESCED_RING}]
    mov edx, 8
    mov eax, [rsi]
    cmp eax, [rsi + 4]
    je .ring
    mov edx, ${PAGE_SIZE}
.ring:
    call copy
    pop rax
    ret
`;
