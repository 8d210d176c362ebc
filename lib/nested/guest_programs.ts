/**
 * The beginning of a static x86-64 program in NASM: with `nasm -f bin` the whole becomes an ELF file. The program's own
 * text defines `start`, `file_end` (behind what is stored) and `memory_end` (behind what is not).
 */
export const STATIC_ELF_HEADER: string = `
bits 64
org 0x400000

elf_header:
    db 0x7f, "ELF", 2, 1, 1, 0
    dq 0
    dw 2, 62
    dd 1
    dq start, program_header - elf_header, 0
    dd 0
    dw 64, 56, 1, 0, 0, 0
program_header:
    dd 1, 7
    dq 0, elf_header, elf_header
    dq file_end - elf_header, memory_end - elf_header, 0x1000
`;

/**
 * NASM source of a static program that a resumed machine runs first: `wake SECONDS NANOSECONDS < seed` sets the wall
 * clock, mixes 64 bytes of seed into the kernel's random pool and makes its generator use them at once. Without it
 * every resume of one snapshot would have the same time and draw the same random numbers. Assembled with `nasm -f bin`
 * it is a whole ELF file.
 */
export const WAKE_PROGRAM: string = `
%define SYS_READ 0
%define SYS_OPEN 2
%define SYS_IOCTL 16
%define SYS_EXIT 60
%define SYS_CLOCK_SETTIME 227
%define RNDADDENTROPY 0x40085203
%define RNDRESEEDCRNG 0x5207
%define SEED_SIZE 64

${STATIC_ELF_HEADER}
; rsi -> decimal digits; the number comes back in rax
decimal:
    xor eax, eax
.next:
    movzx ecx, byte [rsi]
    sub ecx, '0'
    jb .end
    imul rax, rax, 10
    add rax, rcx
    inc rsi
    jmp .next
.end:
    ret

start:
    mov rsi, [rsp + 16]
    call decimal
    mov [time], rax
    mov rsi, [rsp + 24]
    call decimal
    mov [time + 8], rax
    mov eax, SYS_CLOCK_SETTIME
    xor edi, edi                ; CLOCK_REALTIME
    mov esi, time
    syscall
    mov ebx, eax                ; any error makes the exit code

    mov eax, SYS_READ
    xor edi, edi
    mov esi, seed
    mov edx, SEED_SIZE
    syscall

    mov eax, SYS_OPEN
    mov edi, urandom
    mov esi, 1                  ; O_WRONLY
    syscall
    mov edi, eax

    mov eax, SYS_IOCTL
    mov esi, RNDADDENTROPY
    mov edx, pool
    syscall
    or ebx, eax

    mov eax, SYS_IOCTL
    mov esi, RNDRESEEDCRNG
    xor edx, edx
    syscall
    or ebx, eax

    mov eax, SYS_EXIT
    mov edi, ebx
    and edi, 1
    syscall

urandom: db "/dev/urandom", 0
align 8
pool:                           ; struct rand_pool_info
    dd SEED_SIZE * 8, SEED_SIZE
file_end:
absolute $
seed: resb SEED_SIZE
time: resq 2
memory_end:
`;

/**
 * NASM source of a static program that holds two virtual machines open for as long as the nested machine lives: one
 * without an interrupt controller, one with. It exits once it holds them; a child of it goes on.
 *
 * With the first VM, and with the first vCPU of either kind, Linux patches its own code (the static keys
 * `preempt_notifier_key`, `kvm_has_noapic_vcpu` and `apic_sw_disabled`), and again when the last one goes. QEMU before
 * 8.1 may keep a stale translation of such code when the other processor executes it meanwhile: both processors then
 * take the same breakpoint for ever. Since nothing is patched any more, that cannot happen, and a VM is made and closed
 * in less time.
 */
export const KEEP_PROGRAM: string = `
%define SYS_OPEN 2
%define SYS_IOCTL 16
%define SYS_PAUSE 34
%define SYS_FORK 57
%define SYS_EXIT 60
%define O_RDWR 2
%define KVM_CREATE_VM 0xae01
%define KVM_CREATE_VCPU 0xae41
%define KVM_CREATE_IRQCHIP 0xae60
${STATIC_ELF_HEADER}
; ioctl(edi, esi, 0); the result comes back in eax, and a failure ends the program
call_ioctl:
    mov eax, SYS_IOCTL
    xor edx, edx
    syscall
    test eax, eax
    js failed
    ret

start:
    mov eax, SYS_OPEN
    mov edi, device
    mov esi, O_RDWR
    syscall
    test eax, eax
    js failed
    mov ebx, eax

    mov edi, ebx
    mov esi, KVM_CREATE_VM
    call call_ioctl
    mov edi, eax
    mov esi, KVM_CREATE_VCPU
    call call_ioctl

    mov edi, ebx
    mov esi, KVM_CREATE_VM
    call call_ioctl
    mov ebp, eax
    mov edi, ebp
    mov esi, KVM_CREATE_IRQCHIP
    call call_ioctl
    mov edi, ebp
    mov esi, KVM_CREATE_VCPU
    call call_ioctl

    mov eax, SYS_FORK
    syscall
    test eax, eax
    js failed
    jnz done
.hold:
    mov eax, SYS_PAUSE
    syscall
    jmp .hold

done:
    xor edi, edi
    jmp exit
failed:
    mov edi, 1
exit:
    mov eax, SYS_EXIT
    syscall

device: db "/dev/kvm", 0
file_end:
memory_end:
`;
